package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/understudy-proxy/understudy/internal/admin"
	"github.com/understudy-proxy/understudy/rules"
)

// makeAdmin opens the admin API's socket and puts its token where the user finds it.
func (p *parts) makeAdmin() error {
	a := &p.c.Admin
	if a.Addr == "" {
		return nil
	}
	token, err := p.token()
	if err != nil {
		return Setup(err)
	}
	server, err := admin.New(admin.Options{
		Addr: a.Addr, AllowRemote: a.AllowRemote, Hosts: a.Hosts, Token: token, OpenMetrics: a.OpenMetrics,
		Metrics: p.books.metrics.Handler(), Ready: p.ready, Status: p.status,
		Ledger: func() any { return p.books.ledger.Snapshot() }, Exchanges: p.books.exchanges, Misses: p.books.missed,
		Rules: switches{p.engine}, Link: p.linkNow, ResetScenarios: p.resetScenarios, Log: p.log,
	})
	if _, socket := errors.AsType[*net.OpError](err); socket {
		err = fmt.Errorf("%w\nhint: %s", err, listenHint(err))
	}
	if err != nil {
		return Setup(err)
	}
	p.admin = server
	return nil
}

// token is the configured token, or one of this run's own in a file that ends with it.
func (p *parts) token() (string, error) {
	a := &p.c.Admin
	switch {
	case a.Token != "":
		return a.Token, nil
	case a.TokenFile != "":
		return admin.ReadToken(a.TokenFile)
	}
	token := admin.NewToken()
	file := p.tokenFile()
	if file == "" {
		return "", errors.New("admin token: no home directory to keep it in\nhint: --admin off, or admin.token_file")
	}
	sweepTokens(filepath.Dir(file))
	p.ownToken = file
	return token, admin.WriteToken(file, token)
}

// sweepTokens removes the tokens of runs that were killed.
func sweepTokens(dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "admin-*.token"))
	if err != nil {
		return
	}
	for _, f := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "admin-"), ".token")
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.Remove(f)
		}
	}
}

func (p *parts) ready() error {
	switch {
	case p.state.draining.Load():
		return errors.New("draining")
	case !p.state.serving.Load():
		return errors.New("starting")
	}
	return nil
}

func (p *parts) status() admin.Status {
	rec := p.recorderStats()
	s := admin.Status{
		Version: Version, Mode: string(p.c.Mode), Seed: p.seed, StartedAt: p.start, UptimeSeconds: p.uptime().Seconds(),
		Ready: p.ready() == nil, Draining: p.state.draining.Load(),
		Listeners: []admin.Listener{}, Cassettes: append([]string{}, p.c.Cassettes...),
		Exchanges: p.books.finished.Load(), InFlight: int64(p.pipeline.InFlight()),
		Misses: p.books.misses.Load(), Faults: p.books.faults.Load(),
		Dropped: uint64(rec.Dropped), Lossy: rec.Dropped > 0, Chaos: p.engine.AllEnabled(), Models: p.modelsNow(),
	}
	for _, l := range p.listeners {
		s.Listeners = append(s.Listeners, admin.Listener{Kind: string(l.Kind), URL: l.shown, To: l.To})
	}
	if text := p.state.rulesError.Load(); text != nil {
		s.RulesError = *text
	}
	if text := p.state.stubsError.Load(); text != nil {
		s.StubsError = *text
	}
	return s
}

func (p *parts) resetScenarios() int {
	if p.player == nil {
		return 0
	}
	return p.player.reset()
}

// switches are the rules as the admin API sees them.
type switches struct{ engine *rules.Engine }

func (s switches) List() []admin.Rule {
	all := s.engine.Rules()
	list := make([]admin.Rule, len(all))
	for i, r := range all {
		list[i] = admin.Rule{Name: r.Name, Place: r.Place, Enabled: r.Enabled, Matched: r.Matched, Fired: r.Fired}
	}
	return list
}

func (s switches) Set(name string, on bool) bool { return s.engine.SetEnabled(name, on) == nil }
func (s switches) SetChaos(on bool)              { s.engine.SetAllEnabled(on) }
func (s switches) Chaos() bool                   { return s.engine.AllEnabled() }

var _ admin.Rules = switches{}
