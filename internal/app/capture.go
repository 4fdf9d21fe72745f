package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/proxy"
	"github.com/understudy-proxy/understudy/proxy/ca"
	"github.com/understudy-proxy/understudy/shaping"
)

// doorOfCommand is what the ledger and rules call the door of a captured command.
const doorOfCommand = "command"

// Shim does not return where this process was started to build a captured
// command's namespaces. It must be the first thing in main.
func Shim() { gateway.Shim() }

// captures reports whether the command is to run in namespaces of its own.
func (p *parts) captures() bool {
	if len(p.o.Command) == 0 {
		return false
	}
	switch p.c.Capture {
	case config.CaptureNamespace:
		return true
	case config.CaptureProxy:
		return false
	}
	return len(p.c.Listen) == 0
}

// prepareCapture begins to make the command's namespaces: that takes as long as all
// the rest.
func (p *parts) prepareCapture() error {
	if p.captures() {
		p.ahead = gateway.Prepare(p.commandStreams(), p.asks())
	} else {
		gateway.Unprepare()
	}
	return nil
}

// seekTrust begins to find what makes the command trust our authority, while other things
// are made, and returns what waits for it. That must be called.
func (p *parts) seekTrust() func() (*trusting, error) {
	var t *trusting
	var err error
	found := make(chan struct{})
	go func() { // ends by itself; who calls what is returned waits for it
		defer close(found)
		var authority *ca.Authority
		if authority, err = p.authority(); err == nil {
			t, err = trustFor(authority, ca.BundleFiles(), javaStores(os.Getenv), userCache(), os.Getenv)
		}
	}()
	return func() (*trusting, error) {
		<-found
		return t, err
	}
}

// commandStreams are the options of a gateway that gives the command its streams and its
// kind of link.
func (p *parts) commandStreams() gateway.Options {
	return gateway.Options{Stdin: fileOf(p.o.Stdin), Stdout: fileOf(p.o.Stdout), Stderr: fileOf(p.o.Stderr), Carry: p.carries(),
		Probes: p.hasLink && p.c.Link.Verify}
}

func (p *parts) replays() bool { return p.c.Mode == config.ModeReplay }

// captured runs the command in namespaces of its own and serves what comes out
// of them. The error is a *gateway.StepError where the machine cannot do that;
// nothing has been started then.
func (p *parts) captured(ctx context.Context, drain func(), serve *errgroup.Group) (int, error) {
	defer p.ahead.Close() // where it comes to no start
	t, err := p.trust()
	if err != nil {
		return ExitSetup, err
	}
	o := p.commandStreams()
	o.Argv, o.Env, o.Files, o.Ahead = p.o.Command, environment(os.Environ(), t.env), t.files, p.ahead
	o.Admission, o.Refused = p.admission(), p.nobodyThere
	o.Resolver = &resolver{p.engine, p.books, p.log, p.start}
	for _, pub := range p.c.Publish {
		o.Publish = append(o.Publish, gateway.Publish{On: pub.On, Port: pub.Port})
	}
	served, stopServing := context.WithCancel(ctx)
	var holding sync.WaitGroup // of who keeps the link to its timeline
	defer func() {
		stopServing()
		holding.Wait()
	}()
	var failed error
	o.Ready = func(g *gateway.Gateway) error {
		if err := p.shape(ctx, g); err != nil {
			return err
		}
		if err := p.verifyLink(ctx, g); err != nil {
			return err
		}
		if p.shaped != nil {
			holding.Go(func() { // ends with served
				if err := p.shaped.held.run(served); err != nil {
					failed = err
					drain() // nobody is to believe in conditions that are not there
				}
			})
		}
		for _, ln := range g.Listeners() {
			serve.Go(func() error {
				return p.server.ServeTransparent(served, ln, doorOfCommand, func(nc net.Conn) (proxy.Meant, error) {
					to, ok := nc.LocalAddr().(*net.TCPAddr)
					if ok && to.IP.IsLoopback() {
						p.tellPast(to.String())
					}
					return destination(g, nc)
				})
			})
		}
		p.inNamespace, p.roots = true, t.roots
		p.tellCapture(g)
		return nil
	}
	signals := catchSignals()
	g, err := gateway.Start(ctx, o)
	if errors.Is(err, shaping.ErrNoNetem) && p.c.Link.Engine == config.EngineAuto {
		o.Carry = true // nothing is left of the first try
		g, err = gateway.Start(ctx, o)
	}
	if err != nil {
		signals.stop()
		if ce, ok := errors.AsType[*gateway.CommandError](err); ok {
			return ce.Code, err
		}
		return ExitSetup, err
	}
	defer func() {
		stopServing() // before the listeners close by themselves, which would be an error
		holding.Wait()
		p.refusedUDP = g.RefusedUDP()
		p.countLink()
		p.leaving.Go(func() { // while the run ends, which waits for it
			defer signals.stop() // what it left running has its grace, and a signal cuts no books short
			if err := g.Close(); err != nil {
				p.log.Warn("the command's namespaces", zap.Error(err))
			}
		})
	}()
	signals.pass(g.Signal)
	holding.Go(func() { p.endOrphans(served) })
	code, err := g.Wait()
	stopServing()
	holding.Wait()
	if failed != nil {
		return ExitSetup, failed
	}
	return code, err
}

// endOrphans ends what an earlier command has left though both who could have ended it were
// killed. It may take its time, and gives up when ctx ends.
func (p *parts) endOrphans(ctx context.Context) {
	if pids := gateway.EndOrphans(ctx); len(pids) > 0 {
		p.log.Warn("ended what an earlier captured command had left running: its understudy and its shim had been killed in one instant", zap.Ints("processes", pids))
	}
}

// tellCapture says how the command is captured.
func (p *parts) tellCapture(g *gateway.Gateway) {
	published := make([]string, 0, len(p.c.Publish))
	for i, at := range g.Published() {
		published = append(published, fmt.Sprintf("%s=%d", at, p.c.Publish[i].Port))
	}
	p.events.Note("capturing", "", map[string]any{"by": "namespace", "published": published})
	p.log.Info("capturing the command in a network namespace of its own", zap.Strings("published", published))
}

// instead tells that the command is captured by variables, and why not otherwise.
func (p *parts) instead(err error) {
	p.events.Note("capturing", "", map[string]any{"by": "proxy", "why": err.Error()})
	p.log.Warn("this machine cannot capture a command transparently: proxy variables are set for it instead, which some programs ignore\n"+err.Error(),
		zap.String("hint", "understudy doctor tries each step; --capture proxy chooses this and says nothing"))
}

// destination is whom a connection of the command was for: by name where it asked
// for a name, or may have found one in /etc/hosts.
func destination(g *gateway.Gateway, nc net.Conn) (proxy.Meant, error) {
	to, ok := nc.LocalAddr().(*net.TCPAddr)
	if !ok {
		return proxy.Meant{}, fmt.Errorf("%s is no TCP address", nc.LocalAddr())
	}
	at := unmapped(to)
	name, _ := g.Name(at.Addr())
	meant := proxy.Meant{Host: hostFor(at, name)}
	if !g.MadeUp(at.Addr()) {
		meant.Address = at.String()
	}
	return meant, nil
}

// hostFor is whom a connection to an address is for: by name, "" for none, but for
// the loopback, where the address says all.
func hostFor(at netip.AddrPort, name string) string {
	if name == "" || at.Addr().IsLoopback() {
		return at.String()
	}
	return net.JoinHostPort(name, fmt.Sprint(at.Port()))
}

// environment is env with more in place of what has the same names.
func environment(env, more []string) []string {
	given := map[string]bool{}
	for _, v := range more {
		name, _, _ := strings.Cut(v, "=")
		given[name] = true
	}
	env = slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return given[name]
	})
	return append(env, more...)
}

// fileOf is a stream's file; nil, which is this process's own, where it is none.
func fileOf(stream any) *os.File {
	f, _ := stream.(*os.File)
	return f
}
