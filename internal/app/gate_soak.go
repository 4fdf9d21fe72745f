package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/internal/gate"
)

// SoakScenarios are the runs of this program that `understudy gate --soak` loads,
// each a process of its own.
func SoakScenarios() []gate.SoakScenario {
	all := make([]gate.SoakScenario, len(soaks))
	for i, s := range soaks {
		all[i] = gate.SoakScenario{Name: s.name, Start: s.start}
	}
	return all
}

// soak is a run to be soaked: as a setting, with several ways to load it.
type soak struct {
	name string
	set  func(up *gate.Upstream, dir string) (args []string, ways func(*Self) []gate.Way, err error)
}

var soaks = []soak{
	// Records what comes, and what rules make of it.
	{"record", func(up *gate.Upstream, dir string) ([]string, func(*Self) []gate.Way, error) {
		return []string{"record", "-o", filepath.Join(dir, soakCassette), "--reverse", "127.0.0.1:0=" + up.URL}, func(s *Self) []gate.Way {
			return usual(gate.Endpoint{URL: s.Address("reverse")}, "/")
		}, nil
	}},
	// Answers from a cassette in its rhythm.
	{"replay", func(_ *gate.Upstream, dir string) ([]string, func(*Self) []gate.Way, error) {
		const items = 1000
		args := []string{"replay", "--repeat", "loop", "--timing", "recorded", "--reverse", "127.0.0.1:0=http://" + recordedHost}
		for name, write := range map[string]func(string) error{
			"items": func(file string) error { return writeItems(file, items) }, "stream": writeStream, "large": writeLarge,
		} {
			file := filepath.Join(dir, name+".ndjson")
			if err := write(file); err != nil {
				return nil, nil, err
			}
			args = append(args, "-f", file)
		}
		return args, func(s *Self) []gate.Way {
			ways := usual(gate.Endpoint{URL: s.Address("reverse")}, itemPath)
			ways[0].Spread = items
			return ways
		}, nil
	}},
	// A forward proxy: TLS that is opened after CONNECT, requests in absolute form; and
	// a raw TCP door beside it.
	{"forward", func(up *gate.Upstream, dir string) ([]string, func(*Self) []gate.Way, error) {
		args, err := trust(up.Roots, dir)
		if err != nil {
			return nil, nil, err
		}
		roots, err := ownCA(dir)
		args = append([]string{"proxy", "--forward", "127.0.0.1:0", "--tcp", "127.0.0.1:0=" + strings.TrimPrefix(up.URL, "http://")}, args...)
		return args, func(s *Self) []gate.Way {
			opened := gate.Endpoint{URL: up.TLS, ProxyURL: s.Address("forward"), Roots: roots}
			return append(usual(opened, "/"),
				gate.Way{Endpoint: gate.Endpoint{URL: up.URL, ProxyURL: s.Address("forward")}, Weight: 1},
				gate.Way{Endpoint: gate.Endpoint{URL: "http://" + s.Address("tcp")}, Weight: 1})
		}, err
	}},
	// HTTP/2 over TLS on both sides.
	{"h2", func(up *gate.Upstream, dir string) ([]string, func(*Self) []gate.Way, error) {
		args, err := trust(up.Roots, dir)
		if err != nil {
			return nil, nil, err
		}
		roots, err := ownCA(dir)
		return append([]string{"proxy", "--reverse", "127.0.0.1:0=" + up.HTTP2}, args...), func(s *Self) []gate.Way {
			return usual(gate.Endpoint{URL: secured(s.Address("reverse")), Roots: roots, HTTP2: true}, "/")
		}, err
	}},
}

// usual are small answers, and beside them large ones and streams.
func usual(at gate.Endpoint, small string) []gate.Way {
	to := func(path string, weight int) gate.Way {
		way := gate.Way{Endpoint: at, Weight: weight}
		way.URL += path
		return way
	}
	return []gate.Way{to(small, 6), to(gate.LargePath, 1), to(gate.StreamPath, 1)}
}

// soakRules do every kind of harm that a request can come to. They leave alone what
// does not carry gate.FaultField.
const soakRules = `rules:
  - {name: calm, when: 'request.header("X-Soak") == ""', stop: true}
  - {name: slow tail, chance: 0.2, delay: 'lognormal("2ms", "40ms")'}
  - {name: late first byte, chance: 0.02, delay: {before: first_byte, is: 'normal("5ms", "1ms")'}}
  - {name: in all, chance: 0.02, delay: {total: 10ms}}
  - {name: marked, chance: 0.1, headers: {response: {set: {X-Rule: held}}}}
  - {name: thin, chance: 0.05, when: 'request.path startsWith "/large"', throttle: 4MB/s}
  - {name: honey, chance: 0.05, when: 'request.path startsWith "/large"', drip: {bytes: 16384, every: 1ms}}
  - {name: busy, chance: 0.02, fault: {status: 503, headers: {Retry-After: "1"}}}
  - {name: no answer, chance: 0.004, fault: {reset: before_response}}
  - {name: dies in the middle, chance: 0.004, fault: {reset: mid_body}}
  - {name: dies behind, chance: 0.002, fault: {reset: after_response}}
  - {name: gone, chance: 0.002, fault: {close: true}}
  - {name: half, chance: 0.01, fault: {truncate: 50%}}
  - {name: bit rot, chance: 0.01, fault: {corrupt: 0.1%}}
  - {name: nonsense, chance: 0.002, fault: {malformed: header}}
  - {name: torn, chance: 0.002, fault: {malformed: chunk}}
  - {name: calm down, chance: 0.002, fault: {goaway: ENHANCE_YOUR_CALM}}
  - {name: changed its mind, chance: 0.004, fault: {rst_stream: CANCEL}}
  - {name: hangs, chance: 0.001, fault: {hang: 1s}}
`

func (s soak) start(ctx context.Context, up *gate.Upstream) (*gate.Soaked, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "understudy-soak-")
	if err != nil {
		return nil, err
	}
	rules := filepath.Join(dir, "rules.yaml")
	args, ways, err := s.set(up, dir)
	if err == nil {
		err = os.WriteFile(rules, []byte(soakRules), 0o600)
	}
	var self *Self
	if err == nil {
		// Connections to the upstream that nobody uses are closed soon, so that the idle
		// level is reached soon.
		more := append(common(dir, true), "--rules", rules, "--set", "upstream.timeouts.idle=2s")
		self, err = startProgram(ctx, program{exe, exe}, ownEnviron(os.Environ(), dir), append(slices.Clone(args), more...)...)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &gate.Soaked{
		Ways: ways(self), PID: self.PID(), Vitals: vitalsOf(self, dir),
		Stop: func() error { return endStage(self, args, dir) },
	}, nil
}

// soakCassette is where a soaked run records, and mostSoakBytes what its exchanges
// may grow to on the disk.
const (
	soakCassette  = "cassette"
	mostSoakBytes = 256 << 20
)

// vitalsOf reads what must not grow from a run's metrics. On the way it empties a
// recording that has become large: the recorder only ever appends to it, and nobody
// reads it.
func vitalsOf(s *Self, dir string) func(context.Context) (gate.Vitals, error) {
	recording := filepath.Join(dir, soakCassette, cassette.ExchangesFile)
	return func(ctx context.Context) (gate.Vitals, error) {
		if info, err := os.Stat(recording); err == nil && info.Size() > mostSoakBytes {
			if err := os.Truncate(recording, 0); err != nil {
				return gate.Vitals{}, fmt.Errorf("empty the recording: %w", err)
			}
		}
		// The collector's goal is twice what it found alive, and has no sawtooth.
		found, err := readMetrics(ctx, s, "process_resident_memory_bytes", "go_memstats_next_gc_bytes", "process_open_fds", "go_goroutines", "go_threads",
			"go_gc_duration_seconds_count")
		if err != nil {
			return gate.Vitals{}, fmt.Errorf("read vitals: %w", err)
		}
		return gate.Vitals{
			RSS: int64(found[0]), Heap: int64(found[1] / 2), Descriptors: int64(found[2]), Goroutines: int64(found[3]), Threads: int64(found[4]),
			Collections: int64(found[5]),
		}, nil
	}
}
