package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/rules"
	"github.com/understudy-proxy/understudy/shaping/tunnel"
)

// Options are a run's configuration and surroundings.
type Options struct {
	Config  *config.Config // never nil
	Command []string       // the program to capture; empty to serve until a signal
	JSON    bool           // events as JSON objects
	Append  bool           // add to a cassette that is there already
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
}

// state is what the admin API tells of a run's life.
type state struct {
	serving    atomic.Bool
	draining   atomic.Bool
	rulesError atomic.Pointer[string]
	stubsError atomic.Pointer[string]
}

// Run records, replays or passes on, as the configuration says, until the
// command ends, ctx ends, or SIGINT or SIGTERM comes; a second signal ends the process
// at once. It returns the exit code and, where there is something to say, an error.
func Run(ctx context.Context, o Options) (int, error) {
	defer runtime.KeepAlive(holdReserve())
	p, err := build(o)
	if err != nil {
		return ExitCode(err), err
	}
	return p.run(ctx)
}

func (p *parts) run(ctx context.Context) (int, error) {
	ctx, drain := context.WithCancel(ctx)
	defer drain()
	context.AfterFunc(ctx, func() { close(p.draining) })
	stopSignals := p.watchSignals(drain)
	defer stopSignals()

	// What serves ends with ctx; what keeps the books outlives it.
	books, closeBooks := context.WithCancel(context.WithoutCancel(ctx))
	defer closeBooks()
	var keep, serve errgroup.Group
	p.carry = func(l *tunnel.Link) { keep.Go(func() error { return l.Run(books) }) }
	if p.recorder != nil {
		keep.Go(func() error { return p.recorder.Run(books) })
	}
	if p.admin != nil {
		keep.Go(func() error { return p.admin.Run(books) })
	}
	if len(p.places) > 0 {
		w := rules.NewWatcher(p.engine, p.places, p.rulesOpts, p.reloaded)
		if p.captures() {
			w.Beside(p.relink)
		} else {
			w.Beside(func(_ []rules.Source, set *rules.Set) (func(), error) { return nil, knownClasses(set, nil) })
		}
		keep.Go(func() error { return w.Run(books) })
	}
	if w := p.watchStubs(); w != nil {
		keep.Go(func() error { return w.Run(books) })
	}
	p.keepWidth(books, &keep)
	for _, l := range p.listeners {
		serve.Go(func() error {
			defer drain() // one door that fails closes the others
			return p.serve(ctx, l)
		})
	}
	p.announce()
	p.state.serving.Store(true)

	code, cmdErr := p.command(ctx, drain, &serve)
	<-ctx.Done()
	p.state.draining.Store(true)
	err := serve.Wait()
	if p.transport != nil {
		_ = p.transport.Close()
	}
	none := cmdErr != nil && p.recorder != nil && p.recorder.Discard()
	closeBooks()
	err = errors.Join(err, keep.Wait(), cmdErr)
	if none {
		p.output = "" // there is no cassette to be told of
	}
	if p.ownToken != "" {
		_ = os.Remove(p.ownToken)
	}
	p.report(cmdErr == nil)
	p.leaving.Wait()
	return p.exit(code, err)
}

// exit is the run's exit code: the command's own where it failed, then ours.
func (p *parts) exit(code int, err error) (int, error) {
	switch {
	case code != 0:
		return code, err
	case err != nil:
		return ExitCode(err), err
	case p.c.Mode == config.ModeReplay && p.c.OnMiss == config.MissFail && p.books.misses.Load() > 0:
		return ExitMisses, nil
	}
	return ExitOK, nil
}

// command runs the command, if there is one, and then ends the run.
func (p *parts) command(ctx context.Context, drain func(), serve *errgroup.Group) (int, error) {
	if len(p.o.Command) == 0 {
		return 0, nil
	}
	defer drain()
	if p.captures() {
		code, err := p.captured(ctx, drain, serve)
		step, cannot := errors.AsType[*gateway.StepError](err)
		if !cannot || p.c.Capture == config.CaptureNamespace || len(p.c.Publish) > 0 || p.hasLink {
			return code, coded(code, err)
		}
		p.instead(step)
		if err := p.openListener(forwardForCommand); err != nil {
			return ExitSetup, err
		}
		door := p.listeners[len(p.listeners)-1]
		p.events.Listening(string(door.Kind), door.shown, "")
		serve.Go(func() error { return p.serve(ctx, door) })
	}
	dir, err := os.MkdirTemp("", "understudy-")
	if err != nil {
		return ExitSetup, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cmd := &Command{Args: p.o.Command, Stdin: p.o.Stdin, Stdout: p.o.Stdout, Stderr: p.o.Stderr}
	forward, needs := p.forCommand()
	if needs {
		authority, err := p.authority()
		if err != nil {
			return ExitSetup, err
		}
		if cmd.Env, err = environ(dir, forward, authority, os.Getenv); err != nil {
			return ExitSetup, err
		}
	}
	return cmd.Run(ctx)
}

// forCommand is the forward door that a command shall use, "" for none, and
// whether it needs variables at all: by a transparent door its traffic comes
// without, but it must trust our authority.
func (p *parts) forCommand() (addr string, needs bool) {
	for _, l := range p.listeners {
		switch l.Kind {
		case config.ListenForward:
			return l.ln.Addr().String(), true
		case config.ListenTransparent:
			needs = true
		}
	}
	return "", needs
}

// watchSignals drains at the first signal to end and exits at the second.
// With a command, signals are the command's affair: its end ends the run.
func (p *parts) watchSignals(drain func()) (stop func()) {
	if len(p.o.Command) > 0 {
		return func() {}
	}
	return HeedSignals(func(sig syscall.Signal) {
		p.log.Info("draining; a second signal ends at once", zap.Stringer("signal", sig), zap.Int("in_flight", p.pipeline.InFlight()))
		drain()
	})
}

// announce tells what is ready.
func (p *parts) announce() {
	for _, l := range p.listeners {
		p.events.Listening(string(l.Kind), l.shown, l.To)
	}
	if p.admin != nil {
		p.events.Note("admin", "", map[string]any{"url": p.admin.URL(), "token_file": p.tokenFile()})
		p.log.Info("admin API", zap.String("url", p.admin.URL()), zap.String("token_file", p.tokenFile()))
	}
	p.tellDoors()
	p.events.Note("seed", "", map[string]any{"seed": fmt.Sprint(p.seed)})
	p.log.Info("seed", zap.Uint64("seed", p.seed), zap.String("again", fmt.Sprintf("--seed %d", p.seed)))
	if p.output != "" {
		p.events.Note("recording", "", map[string]any{"cassette": p.output})
		p.log.Info("recording", zap.String("cassette", p.output))
	}
	if p.player != nil {
		exchanges, stubs := p.player.size()
		p.log.Info("replaying", zap.Int("exchanges", exchanges), zap.Int("stubs", stubs))
	}
	n := p.engine.Set().Len()
	switch {
	case n > 0:
		p.log.Info("rules", zap.Int("rules", n))
	case len(p.c.RuleFiles) > 0:
		p.log.Warn("no rules in what --rules names", zap.Strings("rules", p.c.RuleFiles))
	}
	for _, l := range p.listeners {
		if n > 0 && l.Kind == config.ListenTCP {
			p.log.Warn("rules delay and break HTTP exchanges; on a tcp listener they only refuse connections", zap.String("listener", l.shown))
		}
	}
	if unread := p.c.Unread(); unread != "" {
		p.log.Warn(unread)
	}
}

// reloaded tells of a change of the rules.
func (p *parts) reloaded(r rules.Reload) {
	_, byRule := errors.AsType[unknownClass](r.Err)
	switch {
	case r.Err != nil && r.Beside && !byRule:
		p.refusedLink(r.Err)
	case r.Err != nil:
		text := place.Detail(r.Err)
		p.state.rulesError.Store(&text)
		p.books.metrics.Reload(false)
		p.log.Error("rules refused; the old ones stay in force\n" + text)
		p.events.Note("rules_refused", "", map[string]any{"error": text})
	case r.Notice != "":
		p.log.Warn("rules", zap.String("notice", r.Notice))
	default:
		p.state.rulesError.Store(nil)
		if r.Set.Len() == 0 && len(r.Change.Removed) == 0 && p.hasLink {
			return // the file has a link and no rules
		}
		p.books.metrics.Reload(true)
		p.log.Info("rules are live", zap.Int("rules", r.Set.Len()), zap.Strings("added", r.Change.Added),
			zap.Strings("changed", r.Change.Changed), zap.Strings("removed", r.Change.Removed))
		p.events.Note("rules_live", "", map[string]any{"rules": r.Set.Len(),
			"added": r.Change.Added, "changed": r.Change.Changed, "removed": r.Change.Removed})
	}
}

// tokenFile is where the admin API's token can be read: the user's own file, or
// one of this run.
func (p *parts) tokenFile() string {
	if p.c.Admin.TokenFile != "" {
		return p.c.Admin.TokenFile
	}
	if p.c.Admin.Token != "" {
		return ""
	}
	dir, err := stateDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, fmt.Sprintf("admin-%d.token", os.Getpid()))
}

// stateDir is where this user's runs leave what others may read while they run.
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "understudy"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".local", "state", "understudy"), nil
}

// uptime is how long the run has lasted.
func (p *parts) uptime() time.Duration { return time.Since(p.start) }
