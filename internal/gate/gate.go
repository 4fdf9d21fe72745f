package gate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// Endpoint is a way that is ready to be measured.
type Endpoint struct {
	// URL is what to GET: the proxy's own for a reverse proxy, the upstream's
	// where ProxyURL is set.
	URL string
	// Spread, where above 1, makes the load go round that many URLs: URL with
	// 0, 1, … appended.
	Spread int
	// ProxyURL is a forward proxy to go through, "" for none.
	ProxyURL string
	// HTTP2 speaks HTTP/2: after ALPN on https, at once on http.
	HTTP2 bool
	// Header are further request fields, "Name: value".
	Header []string
	// PID is the process whose CPU time and memory are read; 0 for unknown.
	PID int
	// Roots are the certificates in PEM that an https URL is verified with; ""
	// for the system's.
	Roots string
	// Load is what can go this way where no other process can: one that the way has
	// started itself. nil for Options.Load.
	Load Loader
	// Mallocs reads how many objects the process has allocated so far; nil where
	// nobody can tell.
	Mallocs func(ctx context.Context) (uint64, error)
}

// Start brings up a way to up's answers and returns once it serves. stop ends
// it and returns when it has ended; it is called exactly once. counting asks for
// an Endpoint with Mallocs, which is not used for anything that takes time.
//
// It returns a *CannotError where this machine has not what the way needs.
type Start func(ctx context.Context, up *Upstream, counting bool) (at Endpoint, stop func() error, err error)

// CannotError says that a scenario cannot be measured on this machine, and why.
type CannotError struct{ Err error }

// Error is the reason.
func (e *CannotError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *CannotError) Unwrap() error { return e.Err }

// Direct is the way without a proxy, to the upstream's plain URL.
func Direct(_ context.Context, up *Upstream, _ bool) (Endpoint, func() error, error) {
	return Endpoint{URL: up.URL}, func() error { return nil }, nil
}

// Scenario is one way to stand between client and upstream.
type Scenario struct {
	Name    string // the key in the budget
	Start   Start  // what is measured
	Against Start  // what it is compared with; nil for Direct
	// Counts is set where Start can count allocations.
	Counts bool
}

// Against says what a run compares with.
type Against string

const (
	AgainstDirect   Against = "direct"   // doing without
	AgainstBaseline Against = "baseline" // another build of the same
)

// Options say what to measure and how long. The zero value of a field means
// its default.
type Options struct {
	Scenarios   []Scenario
	Against     Against       // what the scenarios' Against is; default AgainstDirect
	Connections []int         // numbers kept open, each with one request at a time; default 16
	Block       time.Duration // of measuring one side once, half of it closed, half open loop; default 1 s
	Pairs       int           // of blocks before the first verdict; default 8, at least 4, made even
	MaxPairs    int           // cap on the doubling of Pairs; default 4 × Pairs
	// Rate is the open loop's, in requests per second over all connections;
	// default a third of what the slower side did in the warm-up.
	Rate   float64
	Level  float64 // of confidence in a verdict, over all looks at it; default 0.95
	Seed   uint64  // of the bootstrap: equal measurements give equal intervals
	Budget *Budget // nil judges nothing, and the report says so
	// Known are names that the budget may have limits for besides those of Scenarios.
	Known []string
	// Together loads both sides of a pair at the same time and at the same rate,
	// instead of by turns. Only against a baseline; see OneCPU.
	Together bool
	// Load runs one block's load; default RunLoad, in this process.
	Load Loader
	// Other runs the other side's load where both run at once; default RunLoad.
	Other Loader
	// Upstream starts the upstream; default InProcessUpstream.
	Upstream func(ctx context.Context) (*Upstream, error)
	// Progress is told what is going on, a line at a time; nil for silence.
	Progress func(line string)
}

func (o Options) withDefaults() (Options, error) {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	if len(o.Connections) == 0 {
		o.Connections = []int{16}
	}
	if o.Against == "" {
		o.Against = AgainstDirect
	}
	def(&o.Pairs, 8)
	o.Pairs = max(o.Pairs, 4)
	o.Pairs += o.Pairs % 2 // each AB has its BA
	def(&o.MaxPairs, 4*o.Pairs)
	if o.Block == 0 {
		o.Block = time.Second
	}
	if o.Level == 0 {
		o.Level = 0.95
	}
	if o.Load == nil {
		o.Load = RunLoad
	}
	if o.Other == nil {
		o.Other = RunLoad
	}
	if o.Upstream == nil {
		o.Upstream = InProcessUpstream
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o, o.check()
}

func (o Options) check() error {
	switch {
	case len(o.Scenarios) == 0:
		return errors.New("measure overhead: no scenario")
	case slices.Min(o.Connections) < 1 || o.Block < 0 || o.Rate < 0:
		return errors.New("measure overhead: want connections above 0, and no negative block or rate")
	case o.Together && o.Against != AgainstBaseline:
		return errors.New("measure overhead: only a baseline can be measured together with this build")
	case !(o.Level > 0 && o.Level < 1):
		return fmt.Errorf("measure overhead: want a level in (0, 1), got %v", o.Level)
	}
	seen := map[string]bool{}
	names := slices.Clone(o.Known)
	for _, s := range o.Scenarios {
		if seen[s.Name] || s.Name == "" || s.Start == nil {
			return fmt.Errorf("measure overhead: scenario %q: want a name of its own and a Start", s.Name)
		}
		seen[s.Name] = true
		if !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	return o.Budget.Check(names)
}

// Run measures the scenarios one after the other and judges them. An error
// means that it could not measure (a proxy or the upstream did not start, the
// direct way failed, ctx ended), never that a budget was missed: that is in the
// report's Verdict. A scenario that this machine cannot measure is left out, and the
// report says so.
func Run(ctx context.Context, o Options) (report *Report, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, err
	}
	upstream, err := o.Upstream(ctx)
	if err != nil {
		return nil, fmt.Errorf("start upstream: %w", err)
	}
	defer func() { err = errors.Join(err, upstream.Stop()) }()
	report = &Report{
		Against: o.Against, OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(),
		Block: o.Block, Level: o.Level, Seed: o.Seed,
	}
	if o.Budget != nil {
		report.Budget = o.Budget.Name
	}
	for _, s := range o.Scenarios {
		for _, n := range o.Connections {
			sr, err := runScenario(ctx, s, n, upstream, o)
			if cannot, ok := errors.AsType[*CannotError](err); ok {
				report.Skipped = append(report.Skipped, Skipped{s.Name, cannot.Error()})
				break // another number of connections changes nothing
			}
			if err != nil {
				return nil, fmt.Errorf("scenario %s: %w", s.Name, err)
			}
			report.Scenarios = append(report.Scenarios, *sr)
		}
	}
	report.Unused = o.Budget.unused(report.Scenarios)
	report.judge()
	return report, nil
}

// runScenario measures s with n connections. Each number of them meets a process
// that is new: its memory is not that of the number before.
func runScenario(ctx context.Context, s Scenario, n int, up *Upstream, o Options) (sr *ScenarioReport, err error) {
	against := s.Against
	if against == nil {
		against = Direct
	}
	p := &probe{
		load: o.Load, base: LoadOptions{Connections: n}, names: [2]string{string(o.Against), "proxied"},
		half: o.Block / 2, rate: o.Rate, share: openShare, starts: [2]Start{against, s.Start}, upstream: up,
	}
	if o.Together {
		p.share = togetherShare
	}
	defer func() {
		if e := p.stop(); e != nil {
			sr, err = nil, errors.Join(err, e)
		}
	}()
	if err := p.start(ctx, proxied); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s, %s", s.Name, connections(n))
	o.Progress(name + ": warming up")
	if err := p.warmUp(ctx, direct, proxied); err != nil {
		return nil, err
	}
	counted, err := p.countBoth(ctx, s, against, up, o)
	if err != nil {
		return nil, err
	}
	var from sampler = p
	if o.Together {
		from = &together{probe: p, loads: [2]Loader{o.Load, o.Other}}
	}
	return measure(ctx, subject{name: s.Name, title: name, connections: n, allocs: counted}, from, o)
}

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}
