package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
const burnSource = `package proxy

import (
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

var burning struct {
	sync.Mutex
	requests int
	burnt    time.Duration
}

var burnShare, _ = strconv.ParseFloat(os.Getenv("` + burnVariable + `"), 64)

func used() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

func burn() {
	b := &burning
	b.Lock()
	defer b.Unlock()
	if b.requests++; b.requests%8 != 0 {
		return
	}
	from := used()
	now := from
	for float64(b.burnt+now-from) < burnShare*float64(from-b.burnt) {
		for i := 0; i < 1000; i++ {
			sink += i
		}
		now = used()
	}
	b.burnt += now - from
}

var sink int
`

// buildBurning builds the program from the same sources with burnSource called for
// each request. Nothing in the tree is changed: go build lays the files over it.
func buildBurning(t *testing.T, dir, program string) {
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
		"handle.go": string(head.ReplaceAllFunc(source, func(line []byte) []byte { return append(line, "burn()\n"...) })), "burn.go": burnSource,
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
// with N runs of each, UNDERSTUDY_GATE_PROOF_BURN=0 (or 0.1) with one of the two only.
func TestGateProof(t *testing.T) {
	runs, _ := strconv.Atoi(os.Getenv("UNDERSTUDY_GATE_PROOF"))
	if runs < 1 {
		t.Skip("takes minutes of an idle machine; UNDERSTUDY_GATE_PROOF=N runs it")
	}
	dir := t.TempDir()
	candidate, baseline := filepath.Join(dir, "understudy"), filepath.Join(dir, "baseline")
	build(t, baseline)
	buildBurning(t, dir, candidate)
	script, err := os.ReadFile("../../tools/gate-ci.sh")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^flags="(.*)"$`).FindSubmatch(script)
	if found == nil {
		t.Fatal(`tools/gate-ci.sh: no line flags="…"`)
	}
	flags := strings.Fields(string(found[1]))
	never := map[string]gate.Verdict{"0.1": gate.Pass, "0": gate.Fail}
	if only := os.Getenv("UNDERSTUDY_GATE_PROOF_BURN"); only != "" {
		never = map[string]gate.Verdict{only: never[only]}
	}
	for share, never := range never {
		got := map[gate.Verdict]int{}
		for range runs {
			cmd := exec.Command(candidate, append([]string{"gate", "-q", "--json", "--budget", "../../.ci/gate.yaml", "--baseline", baseline}, flags...)...)
			cmd.Env = append(os.Environ(), "HOME="+dir, burnVariable+"="+share)
			out, err := cmd.Output()
			if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() != 99 {
				t.Fatalf("gate: %v: %s", err, exit.Stderr)
			}
			var r gate.Report
			if err := json.Unmarshal(out, &r); err != nil {
				t.Fatalf("gate: %v: %s", err, out)
			}
			got[r.Verdict]++
			for _, s := range r.Scenarios {
				for _, m := range s.Metrics {
					if m.Name == "cpu_ratio" {
						t.Logf("burn %s: %s: %s, cpu_ratio %.3f [%.3f, %.3f] after %d pairs", share, s.Title(), m.Verdict, m.Estimate, m.Low, m.High, s.Pairs)
					}
				}
			}
		}
		t.Logf("burn %s: %v", share, got)
		if got[never] > 0 {
			t.Errorf("burn %s: %v, want no %s", share, got, never)
		}
	}
}
