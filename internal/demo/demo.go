package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Process is a run of understudy that serves.
type Process interface {
	// Address is where its first listener of a kind is.
	Address(kind string) string
	// Event returns the first event of a kind that it has told so far.
	Event(kind string) (map[string]any, bool)
	// Wait returns the first event of a kind, once it is there.
	Wait(ctx context.Context, kind string) (map[string]any, error)
	// Stop drains it and returns its exit code when it has ended.
	Stop() (int, error)
	// Stderr is what it said so far on standard error.
	Stderr() string
}

// Options of a tour.
type Options struct {
	// Start runs understudy with --json and returns once it listens. The process
	// is killed when ctx ends.
	Start func(ctx context.Context, args ...string) (Process, error)
	// Executable is understudy's path, for commands that end by themselves.
	Executable string
	// Out is told the story; nil for silence.
	Out io.Writer
	// Keep is a directory that the cassette and the rules are left in; it must be
	// empty or missing. "" keeps nothing.
	Keep string
	// Seed decides all that is random: what customers do, how long payments takes
	// and what the rules strike.
	Seed uint64
	// Short makes everything as brief as it can be and still be shown, for tests.
	Short bool

	// recorded is called with the cassette's directory before it is replayed.
	recorded func(cassette string) error
}

// tour is a demo under way.
type tour struct {
	Options
	say    story
	work   string // what may be kept: cassette, rules, budget
	home   string // what never is: understudy's state
	pace   pace
	result Result
	before *played // the recorded session
}

// pace is how much of everything there is.
type pace struct {
	customers, rounds     int
	from, reload, to, end time.Duration // of the brown-out, on the run's clock; end is the session's
	fates                 int           // calls in each run of the seeds' comparison
	block                 string        // of the gate
}

var (
	fullPace  = pace{24, 8, 2 * time.Second, 3500 * time.Millisecond, 5 * time.Second, 6500 * time.Millisecond, 60, "400ms"}
	shortPace = pace{8, 2, 1500 * time.Millisecond, 2 * time.Second, 2500 * time.Millisecond, 3 * time.Second, 40, "100ms"}
)

// errNotShown ends a tour whose last check makes the rest pointless.
var errNotShown = errors.New("the rest depends on it")

// Run gives the tour. The error is for what kept it from being given: the
// machine, or the end of ctx. Whether everything that was to be shown held is
// in the Result. When it returns, all processes have ended and nothing is left
// but Keep.
func Run(ctx context.Context, o Options) (result *Result, err error) {
	start := time.Now()
	t := &tour{Options: o, say: story{o.Out}, pace: fullPace}
	if o.Short {
		t.pace = shortPace
	}
	if t.home, err = os.MkdirTemp("", "understudy-demo-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(t.home)) }()
	if t.work, err = workDir(o.Keep, t.home); err != nil {
		return nil, err
	}
	t.result.Seed, t.result.Kept = o.Seed, o.Keep

	t.open()
	for _, step := range []func(context.Context) error{t.record, t.replay, t.brownOut, t.sameSeed, t.link, t.gate} {
		err := step(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, errNotShown) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	t.result.finish(time.Since(start))
	t.close()
	return &t.result, nil
}

// workDir is keep, made and found empty, or a directory below home.
func workDir(keep, home string) (string, error) {
	if keep == "" {
		dir := filepath.Join(home, "demo")
		return dir, os.Mkdir(dir, 0o700)
	}
	if err := os.MkdirAll(keep, 0o700); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(keep)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("keep in %s: it is not empty\nhint: name a directory that does not exist yet", keep)
	}
	return keep, nil
}

func (t *tour) cassette() string { return filepath.Join(t.work, "payments") }

// check books whether something that was to be shown held, and tells.
func (t *tour) check(name string, ok bool, format string, args ...any) bool {
	c := Check{Name: name, OK: ok, Note: fmt.Sprintf(format, args...)}
	t.result.Checks = append(t.result.Checks, c)
	t.say.check(c)
	return ok
}

func (t *tour) open() {
	t.say.line("understudy learns a dependency by watching it, and then plays its part. Here a small shop")
	t.say.line("takes payments; both run in this process, on loopback. All figures are measured now.")
	t.say.line("")
	t.say.line("Each command is run as shown, plus --json, --admin off and a certificate authority in a")
	t.say.line("directory of its own, so that nothing of yours is touched.")
}

func (t *tour) close() {
	r := &t.result
	t.say.heading("Summary", fmt.Sprintf("%.0f s", r.Seconds))
	for _, c := range r.Checks {
		t.say.check(c)
	}
	t.say.line("")
	if r.OK {
		t.say.line("Next, with a program of yours:")
		t.say.line("")
		t.say.line("  understudy record -o cassettes/mine --reverse :9001=http://your-dependency:7001")
		t.say.line("  understudy replay -f cassettes/mine --reverse :9001=http://your-dependency:7001")
	} else {
		t.say.line("Not all of it held: see the ✗ above.")
	}
	if t.Keep != "" {
		t.say.line("")
		t.say.line("Kept in %s: the cassette payments, brownout.yaml, flaky.yaml, gate.yaml. To play with them:", t.Keep)
		t.say.line("")
		t.say.line("  understudy replay -f %s --reverse :9001=%s", t.cassette(), dependency)
		t.say.line("  curl -i localhost:9001/v1/rates")
	}
}
