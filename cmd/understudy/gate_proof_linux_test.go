package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/internal/gate"
)

// burnVariable makes a build with burnSource take that share more CPU time than it
// needs: "0.1" is a regression of ten per cent, whatever a request costs.
const burnVariable = "UNDERSTUDY_INTERNAL_GATE_BURN"

// burnSource is put into the copy of package proxy that the slower program is built
// from. Requests pay it, a few of them for their neighbours: asking the clock costs, too.
// Nobody waits for one that burns: parking and waking would be a cost on top. What it
// burns is its thread's time: the process's has that of others, which work meanwhile.
const burnSource = `package proxy

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

var burning struct {
	sync.Mutex
	requests atomic.Int64
	burnt    time.Duration
}

var burnShare, _ = strconv.ParseFloat(os.Getenv("` + burnVariable + `"), 64)

func used(clock int32) time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(clock, &ts)
	return time.Duration(ts.Nano())
}

func burn() {
	b := &burning
	if b.requests.Add(1)%64 != 0 || !b.TryLock() {
		return
	}
	defer b.Unlock()
	owed := time.Duration(burnShare*float64(used(unix.CLOCK_PROCESS_CPUTIME_ID)-b.burnt)) - b.burnt
	if owed <= 0 {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	from := used(unix.CLOCK_THREAD_CPUTIME_ID)
	now := from
	for now-from < owed {
		for i := 0; i < 1000; i++ {
			sink += i
		}
		now = used(unix.CLOCK_THREAD_CPUTIME_ID)
	}
	b.burnt += now - from
}

var sink int
`

// buildBurning builds the program with burnSource called for each request.
func buildBurning(t *testing.T, dir, program string) {
	t.Helper()
	buildWith(t, dir, program, burnSource, "burn()")
}

// buildWith builds the program from the same sources with one more in package proxy,
// of which each request makes the call. Nothing in the tree is changed: go build lays
// the files over it.
func buildWith(t *testing.T, dir, program, more, call string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	original := filepath.Join(root, "proxy", "handle.go")
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	head := regexp.MustCompile(`func \(s \*session\) ServeWire\([^\n]*\{\n`)
	if n := len(head.FindAll(source, -1)); n != 1 {
		t.Fatalf("%s: ServeWire found %d times, want once: where do requests begin now?", original, n)
	}
	overlay := map[string]map[string]string{"Replace": {}}
	for name, text := range map[string]string{
		"handle.go": string(head.ReplaceAllFunc(source, func(line []byte) []byte {
			return fmt.Appendf(nil, "%s %s\n", bytes.TrimSuffix(line, []byte("\n")), call)
		})), "more.go": more,
	} {
		file := filepath.Join(dir, "over-"+name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay["Replace"][filepath.Join(root, "proxy", name)] = file
	}
	data, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	build(t, program, "-overlay", file)
}

func build(t *testing.T, program string, flags ...string) {
	t.Helper()
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", program, ".")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
}

// TestGateProof shows with the real thing, and with the flags that `make gate-ci` has,
// that a regression of ten per cent is caught and that equals are not told apart. It
// measures for minutes and takes the machine to itself: UNDERSTUDY_GATE_PROOF=N runs it
// N times with each scenario, by turns with a burn of 0 and of 0.1, or those that
// UNDERSTUDY_GATE_PROOF_BURN names (0.1,0.2). UNDERSTUDY_GATE_PROOF_WITH is a command
// that each measurement is run by, such as one that takes a lock or bounds its time.
func TestGateProof(t *testing.T) {
	runs, _ := strconv.Atoi(os.Getenv("UNDERSTUDY_GATE_PROOF"))
	if runs < 1 {
		t.Skip("takes minutes of an idle machine; UNDERSTUDY_GATE_PROOF=N runs it")
	}
	dir := t.TempDir()
	candidate, baseline := filepath.Join(dir, "understudy"), filepath.Join(dir, "baseline")
	build(t, baseline)
	buildBurning(t, dir, candidate)
	flags, scenarios := ciFlags(t)
	burns := strings.Split(cmp.Or(os.Getenv("UNDERSTUDY_GATE_PROOF_BURN"), "0,0.1"), ",")
	with := strings.Fields(os.Getenv("UNDERSTUDY_GATE_PROOF_WITH"))
	got := map[string]map[gate.Verdict]int{}
	for range runs {
		for _, scenario := range scenarios {
			for _, burn := range burns {
				program := candidate
				if burn == "0" { // equals are one program: asking the clock and a lock cost, too
					program = baseline
				}
				argv := append(slices.Clone(with), program, "gate", "-q", "--json", "--budget", "../../.ci/gate.yaml", "--baseline", baseline)
				argv = append(append(argv, flags...), "--scenario", scenario)
				cmd := exec.Command(argv[0], argv[1:]...)
				cmd.Env = append(os.Environ(), "HOME="+dir, burnVariable+"="+burn)
				out, err := cmd.Output()
				exit, ok := errors.AsType[*exec.ExitError](err)
				if err != nil && !ok {
					t.Fatal(err)
				}
				var r gate.Report
				if code := cmd.ProcessState.ExitCode(); code != 0 && code != 99 {
					// A bound on the time may be part of what it is run by.
					t.Logf("burn %s: %s: not measured: %v: %s", burn, scenario, err, exit.Stderr)
					r.Verdict = "not measured"
				} else if err := json.Unmarshal(out, &r); err != nil {
					t.Fatalf("gate: %v: %s", err, out)
				}
				for _, key := range []string{"burn " + burn, "burn " + burn + ", " + scenario} {
					if got[key] == nil {
						got[key] = map[gate.Verdict]int{}
					}
					got[key][r.Verdict]++
				}
				for _, s := range r.Scenarios {
					for _, m := range s.Metrics {
						if m.Name == "cpu_ratio" {
							t.Logf("burn %s: %s: %s, cpu_ratio %.3f [%.3f, %.3f] after %d pairs", burn, s.Title(), m.Verdict, m.Estimate, m.Low, m.High, s.Pairs)
						}
					}
				}
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		t.Logf("%s: %v", key, got[key])
	}
	for _, burn := range burns {
		never := gate.Pass
		if burn == "0" {
			never = gate.Fail
		}
		if n := got["burn "+burn]["not measured"]; n == runs*len(scenarios) {
			t.Errorf("burn %s: nothing was measured", burn)
		}
		if n := got["burn "+burn][never]; n > 0 {
			t.Errorf("burn %s: %d times %s, want none", burn, n, never)
		}
	}
}

// ciFlags are the flags of tools/gate-ci.sh, with the scenarios apart.
func ciFlags(t *testing.T) (flags, scenarios []string) {
	t.Helper()
	script, err := os.ReadFile("../../tools/gate-ci.sh")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^flags="(.*) --scenario ([a-z,]+)"$`).FindSubmatch(script)
	if found == nil {
		t.Fatal(`tools/gate-ci.sh: no line flags="… --scenario …"`)
	}
	return strings.Fields(string(found[1])), strings.Split(string(found[2]), ",")
}

// The proof is run by hand; what it leans on must not go unnoticed until then.
func TestGateProofFindsItsFlags(t *testing.T) {
	if flags, scenarios := ciFlags(t); len(flags) < 5 || len(scenarios) < 2 {
		t.Errorf("flags = %q, scenarios = %q", flags, scenarios)
	}
}

// leakSource is put into the copy of package proxy that the leaking program is built
// from: each request keeps so many bytes, for ever.
const leakSource = `package proxy

import (
	"os"
	"strconv"
	"sync"
)

var kept struct {
	sync.Mutex
	all [][]byte
}

var keptBytes, _ = strconv.Atoi(os.Getenv("` + leakVariable + `"))

func leak() {
	if keptBytes == 0 {
		return // what notes an empty piece takes 24 bytes, and that was found
	}
	kept.Lock()
	defer kept.Unlock()
	kept.all = append(kept.all, make([]byte, keptBytes))
}
`

const leakVariable = "UNDERSTUDY_INTERNAL_SOAK_LEAK"

// TestSoakProof shows with the real thing that a leak is found: a build that keeps a
// hundred bytes of each request fails by its heap, and one that keeps none does not.
// A kilobyte is found in an hour, and left open in minutes: what doubles the heap a few
// times is collected a few times, and for want of collections nothing is judged.
// UNDERSTUDY_SOAK_PROOF=3m runs it with two soaks of so long.
func TestSoakProof(t *testing.T) {
	long := os.Getenv("UNDERSTUDY_SOAK_PROOF")
	if long == "" {
		t.Skip("takes minutes; UNDERSTUDY_SOAK_PROOF=3m runs it")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "understudy")
	buildWith(t, dir, program, leakSource, "leak()")
	for size, want := range map[string]bool{"0": false, "100": true} {
		cmd := exec.Command(program, "gate", "-q", "--json", "--soak", long)
		cmd.Env = append(os.Environ(), "HOME="+dir, leakVariable+"="+size)
		out, err := cmd.Output()
		if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			t.Fatalf("gate --soak: %v", err)
		} else if ok && exit.ExitCode() != 99 && exit.ExitCode() != 97 {
			t.Fatalf("gate --soak: %v: %s", err, exit.Stderr)
		}
		var r gate.SoakReport
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("gate --soak: %v: %s", err, out)
		}
		for _, s := range r.Scenarios {
			found := false
			for _, m := range s.Metrics {
				t.Logf("%s bytes a request: %s: %s: %s, %.4g [%.4g, %.4g] %s", size, s.Name, m.Name, m.Verdict, m.Estimate, m.Low, m.High, m.Note)
				found = found || m.Name == "heap_per_hour" && m.Verdict == gate.Fail
			}
			if found != want {
				t.Errorf("%s bytes a request: %s: leak found: %v, want %v", size, s.Name, found, want)
			}
		}
	}
}
