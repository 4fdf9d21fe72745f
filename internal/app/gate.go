package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/understudy-proxy/understudy/internal/gate"
	"github.com/understudy-proxy/understudy/proxy/ca"
)

// GateScenarios are the ways to stand between client and upstream that
// `understudy gate` measures, each by a process of its own: this program against doing
// without. With two programs, as SideBySide gives them, it is the first against the second.
func GateScenarios(programs ...Compared) []gate.Scenario {
	all := make([]gate.Scenario, len(stages))
	for i, s := range stages {
		all[i] = gate.Scenario{Name: s.name, Start: s.start(program{}), Against: s.without, Counts: !s.loads}
		if len(programs) == 2 {
			all[i].Start, all[i].Against = s.start(programs[0].of(s)), s.start(programs[1].of(s))
		}
	}
	return all
}

// GateURL measures a way of the user's own to url: through the forward proxy
// via, or by the URL proxied that stands in for url, or, where both are "",
// through this program as a reverse proxy. like holds what else the requests have.
func GateURL(url, via, proxied string, like gate.Endpoint) gate.Scenario {
	fixed := func(u, proxy string, pid int) gate.Start {
		return func(context.Context, *gate.Upstream, bool) (gate.Endpoint, func() error, error) {
			at := like
			at.URL, at.ProxyURL, at.PID = u, proxy, pid
			return at, func() error { return nil }, nil
		}
	}
	s := gate.Scenario{Name: GateURLName, Against: fixed(url, "", 0)}
	switch {
	case proxied != "":
		s.Start = fixed(proxied, "", like.PID)
	case via != "":
		s.Start = fixed(url, via, like.PID)
	default:
		s.Counts = true
		s.Start = before(url, like).start(program{})
	}
	return s
}

// GateURLName is the name in budgets of what GateURL measures.
const GateURLName = "environment"

// stage is a scenario: arguments of the program, and where to reach it then.
type stage struct {
	name    string
	without gate.Start // nil for plain HTTP
	loads   bool       // what it is started with is the load itself, captured
	set     func(up *gate.Upstream, dir string) (setting, error)
}

// setting is how one process is run.
type setting struct {
	args []string
	at   func(s *Self) gate.Endpoint
}

// common are the arguments of every measured run: ledger and metrics are on as always.
func common(dir string, counting bool) []string {
	args := []string{"--log-level", "error", "--seed", "1", "--set", "intercept.ca_dir=" + filepath.Join(dir, "ca")}
	if counting {
		return append(args, "--admin", "127.0.0.1:0", "--set", "admin.open_metrics=true")
	}
	return append(args, "--admin", "off")
}

// start runs the stage with p (the zero one stands for this program); stop ends it and
// removes what it left.
func (s stage) start(p program) gate.Start {
	given := p != program{}
	return func(ctx context.Context, up *gate.Upstream, counting bool) (at gate.Endpoint, stop func() error, err error) {
		if !given {
			exe, err := os.Executable()
			if err != nil {
				return at, nil, err
			}
			p = program{exe, exe}
		}
		dir, err := os.MkdirTemp("", "understudy-gate-")
		if err != nil {
			return at, nil, err
		}
		set, err := s.set(up, dir)
		if err == nil && s.loads {
			at, stop, err := startCaptured(ctx, p.file, set, dir)
			if err != nil {
				err = errors.Join(err, os.RemoveAll(dir))
			}
			return at, stop, err
		}
		var self *Self
		if err == nil {
			self, err = startProgram(ctx, p, ownEnviron(os.Environ(), dir), append(slices.Clone(set.args), common(dir, counting)...)...)
		}
		if err != nil {
			if given && ctx.Err() == nil {
				err = fmt.Errorf("%w\nhint: both programs must know these arguments; --baseline wants a build of understudy", err)
			}
			return at, nil, errors.Join(err, os.RemoveAll(dir))
		}
		at = set.at(self)
		at.PID = self.PID()
		if counting {
			at.Mallocs = mallocsOf(self)
		}
		return at, func() error { return endStage(self, set.args, dir) }, nil
	}
}

func endStage(s *Self, args []string, dir string) error {
	code, err := s.Stop()
	if err == nil && code != 0 {
		err = fmt.Errorf("understudy %s: exit %d: %s", strings.Join(args, " "), code, s.Stderr())
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// ownEnviron is env without what configures understudy, which would change what is measured,
// and with dir for what a run puts down for others and one that is killed leaves.
func ownEnviron(env []string, dir string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		return strings.HasPrefix(v, "UNDERSTUDY_") && !strings.HasPrefix(v, "UNDERSTUDY_INTERNAL_")
	})
	return append(env, "XDG_STATE_HOME="+dir) // the last of a name counts
}

// ownCA makes the authority that the process will find in dir, and returns its
// certificate.
func ownCA(dir string) (string, error) {
	authority, err := ca.Load(filepath.Join(dir, "ca"))
	if err != nil {
		return "", err
	}
	pem, err := os.ReadFile(authority.CertPath())
	return string(pem), err
}

// trust writes roots where the process can read them, and returns the arguments
// that make it do so; none for the system's roots.
func trust(roots, dir string) ([]string, error) {
	if roots == "" {
		return nil, nil
	}
	file := filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(file, []byte(roots), 0o600); err != nil {
		return nil, err
	}
	return []string{"--set", "upstream.ca_file=" + file}, nil
}
