package gate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Endpoint is a proxy that is ready to be measured.
type Endpoint struct {
	// URL is what to request: the proxy's own for a reverse proxy, the
	// upstream's where ProxyURL is set.
	URL string
	// ProxyURL is a forward proxy to go through, "" for none.
	ProxyURL string
	// PID is the proxy's process, whose CPU time is read; 0 for unknown.
	PID int
	// CAFile holds the roots in PEM that an https URL is verified with; "" for
	// the system's.
	CAFile string
}

// Scenario is one way to stand between client and upstream.
type Scenario struct {
	Name string // the key in the budget
	// Start brings up a proxy in front of upstream ("http://127.0.0.1:1234",
	// without a path) and returns once it serves. stop ends it and returns when
	// it has ended; Run calls it exactly once.
	Start func(ctx context.Context, upstream string) (at Endpoint, stop func() error, err error)
}

// Options say what to measure and how long. The zero value of a field means
// its default.
type Options struct {
	Scenarios   []Scenario
	Connections int           // kept open, each with one request at a time; default 16
	Block       time.Duration // of measuring one side once, half of it closed, half open loop; default 1 s
	Pairs       int           // of blocks before the first verdict; default 8, at least 4, made even
	MaxPairs    int           // cap on the doubling of Pairs; default 4 × Pairs
	// Rate is the open loop's, in requests per second over all connections;
	// default a third of what the slower side did in the warm-up.
	Rate   float64
	Level  float64 // of confidence in a verdict, over all looks at it; default 0.95
	Seed   uint64  // of the bootstrap: equal measurements give equal intervals
	Budget *Budget // nil judges nothing: the report has no limits and passes
	// Load runs one block's load; default RunLoad, in this process.
	Load Loader
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
	def(&o.Connections, 16)
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
	if o.Upstream == nil {
		o.Upstream = InProcessUpstream
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	switch {
	case len(o.Scenarios) == 0:
		return o, errors.New("measure overhead: no scenario")
	case o.Connections < 0 || o.Block < 0 || o.Rate < 0:
		return o, errors.New("measure overhead: connections, block and rate cannot be negative")
	case !(o.Level > 0 && o.Level < 1):
		return o, fmt.Errorf("measure overhead: want a level in (0, 1), got %v", o.Level)
	}
	seen := map[string]bool{}
	names := make([]string, len(o.Scenarios))
	for i, s := range o.Scenarios {
		if names[i] = s.Name; seen[s.Name] || s.Name == "" || s.Start == nil {
			return o, fmt.Errorf("measure overhead: scenario %q: want a name of its own and a Start", s.Name)
		}
		seen[s.Name] = true
	}
	return o, o.Budget.Check(names)
}

// Run measures the scenarios one after the other and judges them. An error
// means that it could not measure (a proxy or the upstream did not start, the
// direct way failed, ctx ended), never that a budget was missed: that is in the
// report's Verdict.
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
		OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(),
		Connections: o.Connections, Block: o.Block, Level: o.Level, Seed: o.Seed,
	}
	for _, s := range o.Scenarios {
		sr, err := runScenario(ctx, s, upstream, o)
		if err != nil {
			return nil, fmt.Errorf("scenario %s: %w", s.Name, err)
		}
		report.Scenarios = append(report.Scenarios, *sr)
	}
	report.judge()
	return report, nil
}

func runScenario(ctx context.Context, s Scenario, upstream *Upstream, o Options) (sr *ScenarioReport, err error) {
	at, stop, err := s.Start(ctx, upstream.URL)
	if err != nil {
		return nil, fmt.Errorf("start proxy: %w", err)
	}
	defer func() {
		if e := stop(); e != nil {
			err = errors.Join(err, fmt.Errorf("stop proxy: %w", e))
		}
	}()
	p := &probe{
		load: o.Load,
		base: LoadOptions{Connections: o.Connections},
		ends: [2]Endpoint{direct: {URL: upstream.URL, CAFile: upstream.CAFile}, proxied: at},
		half: o.Block / 2,
		rate: o.Rate,
	}
	o.Progress(s.Name + ": warming up")
	if err := p.warmUp(ctx); err != nil {
		return nil, err
	}
	return measure(ctx, s.Name, p, o)
}
