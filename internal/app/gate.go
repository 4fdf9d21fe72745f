package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/understudy-proxy/understudy/internal/gate"
)

// GateScenarios are the ways to stand between client and upstream that
// `understudy gate` measures, each by a process of its own.
func GateScenarios() []gate.Scenario {
	return []gate.Scenario{
		{Name: "reverse", Start: throughReverse("proxy")},
		{Name: "forward", Start: throughForward},
		{Name: "record", Start: throughReverse("record")},
		{Name: "rules", Start: throughRules},
	}
}

// quiet are the flags that every measured run has: metrics and ledger are on as always.
var quiet = []string{"--admin", "off", "--log-level", "error", "--seed", "1"}

func throughReverse(mode string, more ...string) func(ctx context.Context, upstream string) (gate.Endpoint, func() error, error) {
	return func(ctx context.Context, upstream string) (gate.Endpoint, func() error, error) {
		dir, err := os.MkdirTemp("", "understudy-gate-")
		if err != nil {
			return gate.Endpoint{}, nil, err
		}
		args := append([]string{mode, "--reverse", "127.0.0.1:0=" + upstream}, quiet...)
		if mode == "record" {
			args = append(args, "-o", filepath.Join(dir, "cassette"))
		}
		return start(ctx, dir, append(args, more...), func(s *Self) gate.Endpoint {
			return gate.Endpoint{URL: s.Address("reverse"), PID: s.PID()}
		})
	}
}

func throughForward(ctx context.Context, upstream string) (gate.Endpoint, func() error, error) {
	dir, err := os.MkdirTemp("", "understudy-gate-")
	if err != nil {
		return gate.Endpoint{}, nil, err
	}
	return start(ctx, dir, append([]string{"proxy", "--forward", "127.0.0.1:0"}, quiet...), func(s *Self) gate.Endpoint {
		return gate.Endpoint{URL: upstream, ProxyURL: s.Address("forward"), PID: s.PID()}
	})
}

// throughRules has a hundred rules, of which one holds and does next to nothing.
func throughRules(ctx context.Context, upstream string) (gate.Endpoint, func() error, error) {
	dir, err := os.MkdirTemp("", "understudy-gate-")
	if err != nil {
		return gate.Endpoint{}, nil, err
	}
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range 99 {
		fmt.Fprintf(&b, "  - name: rule %d\n    when: request.method == \"POST\" && request.path startsWith \"/part/%d\"\n    fault: {status: 503}\n", i, i)
	}
	b.WriteString("  - name: the one that holds\n    when: request.method == \"GET\"\n    headers: {response: {set: {X-Rule: held}}}\n")
	file := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return gate.Endpoint{}, nil, err
	}
	return start(ctx, dir, append([]string{"proxy", "--reverse", "127.0.0.1:0=" + upstream, "--rules", file}, quiet...), func(s *Self) gate.Endpoint {
		return gate.Endpoint{URL: s.Address("reverse"), PID: s.PID()}
	})
}

// start runs what is measured; stop ends it and removes dir.
func start(ctx context.Context, dir string, args []string, at func(*Self) gate.Endpoint) (gate.Endpoint, func() error, error) {
	s, err := StartSelf(ctx, args...)
	if err != nil {
		_ = os.RemoveAll(dir)
		return gate.Endpoint{}, nil, err
	}
	return at(s), func() error {
		code, err := s.Stop()
		if err == nil && code != 0 {
			err = fmt.Errorf("understudy %s: exit %d: %s", strings.Join(args, " "), code, s.Stderr())
		}
		_ = os.RemoveAll(dir)
		return err
	}, nil
}
