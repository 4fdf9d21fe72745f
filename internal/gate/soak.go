package gate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// FaultField is what a soak's requests carry and its calibration's do not, so that
// rules can tell them apart: `request.header("X-Soak") != ""`.
const FaultField = "X-Soak: faults"

// SoakScenario is a process to be soaked.
type SoakScenario struct {
	Name string
	// Start brings it up and returns once it serves.
	Start func(ctx context.Context, up *Upstream) (*Soaked, error)
}

// Soaked is a process under soak.
type Soaked struct {
	Ways []Way // to load it, at least one
	PID  int   // whose CPU time is read; 0 for unknown
	// Vitals reads what must not grow, at each sample.
	Vitals func(ctx context.Context) (Vitals, error)
	// Stop ends it and returns when it has ended; it is called exactly once. An
	// error is a finding: it died, or did not end as it should.
	Stop func() error
}

// Way is one way to load a process, with its part of the connections.
type Way struct {
	Endpoint
	Weight int // beside those of the other ways; above 0
}

// Vitals are what a process that leaks has more and more of.
type Vitals struct {
	RSS         int64 `json:"rss"`  // bytes in RAM
	Heap        int64 `json:"heap"` // bytes that the collector last found alive
	Descriptors int64 `json:"descriptors"`
	Goroutines  int64 `json:"goroutines"`
	Threads     int64 `json:"threads"`
	Collections int64 `json:"collections"` // of the heap so far: without them RSS and Heap say nothing
}

// Sample is one reading.
type Sample struct {
	At time.Duration `json:"at_ns"` // since the load began
	Vitals
}

// SoakOptions say what to soak and how long. The zero value of a field means its
// default.
type SoakOptions struct {
	Scenarios   []SoakScenario
	Duration    time.Duration // of the load; at least 5 s
	Connections int           // to each scenario, each with one request at a time; default 16
	Level       float64       // of confidence in a trend; default 0.99
	Seed        uint64        // of who leaves when
	Budget      *Budget       // its Soak limits are in place of DefaultSoakLimits
	// Upstream starts the upstream; default InProcessUpstream.
	Upstream func(ctx context.Context) (*Upstream, error)
	// Progress is told what is going on, a line at a time; nil for silence.
	Progress func(line string)
}

func (o SoakOptions) withDefaults() (SoakOptions, error) {
	if o.Connections == 0 {
		o.Connections = 16
	}
	if o.Level == 0 {
		o.Level = 0.99
	}
	if o.Upstream == nil {
		o.Upstream = InProcessUpstream
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if len(o.Scenarios) == 0 || o.Connections < 1 || o.Duration < leastSoak || !(o.Level > 0 && o.Level < 1) {
		return o, fmt.Errorf("soak: want scenarios, connections above 0, %s or more and a level in (0, 1)", leastSoak)
	}
	return o, nil
}

// leastSoak is the shortest soak: less would hold too few samples for a trend.
const leastSoak = 5 * time.Second

// calibration is how long the machine is asked what it can do.
func (o SoakOptions) calibration() time.Duration {
	return min(max(o.Duration/20, 500*time.Millisecond), 10*time.Second)
}

// every is the time between two samples: a hundred in each window, so that a moment
// with little at work is among them.
func (o SoakOptions) every() time.Duration {
	return min(max(o.Duration/(100*soakWindows), 100*time.Millisecond), 5*time.Second)
}

// Soak loads all scenarios at once, at half of what the machine can do for all of
// them, while connections come and go, and judges whether what they hold stays
// level and comes back. An error means that there was no soak; what a process did
// wrong is in the report.
func Soak(ctx context.Context, o SoakOptions) (r *SoakReport, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	up, err := o.Upstream(ctx)
	if err != nil {
		return nil, fmt.Errorf("start upstream: %w", err)
	}
	defer func() { err = errors.Join(err, up.Stop()) }()
	r = &SoakReport{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Duration: o.Duration, Level: o.Level, Seed: o.Seed,
		Scenarios: make([]SoakedReport, len(o.Scenarios))}
	if o.Budget != nil {
		r.Budget = o.Budget.Name
	}
	var all []*soaking
	stop := sync.OnceFunc(func() {
		for _, s := range all {
			if e := s.Stop(); e != nil && ctx.Err() == nil {
				s.report.failed(e)
			}
		}
	})
	defer stop()
	for i, s := range o.Scenarios {
		started, err := s.Start(ctx, up)
		if err != nil {
			return nil, fmt.Errorf("scenario %s: start proxy: %w", s.Name, err)
		}
		r.Scenarios[i] = SoakedReport{Name: s.Name}
		one := &soaking{Soaked: started, report: &r.Scenarios[i]}
		for w, n := range spreadOver(o.Connections, started.Ways) {
			one.loads = append(one.loads, &wayLoad{at: started.Ways[w].Endpoint, connections: n})
			one.report.Connections += n
		}
		all = append(all, one)
	}
	if err := calibrate(ctx, all, o); err != nil {
		return nil, err
	}
	// What is opened at the first use and kept, such as clocks for delays, belongs to the
	// idle level.
	o.Progress(fmt.Sprintf("soak: %s of faults, to warm up", o.calibration()))
	warming, warm := context.WithTimeout(ctx, o.calibration())
	loadAll(warming, all, o.Seed)()
	warm()
	if err := soakAll(ctx, all, o); err != nil {
		return nil, err
	}
	stop()
	for i := range r.Scenarios {
		if err := r.Scenarios[i].judge(o); err != nil {
			return nil, err
		}
	}
	r.judge()
	return r, nil
}
