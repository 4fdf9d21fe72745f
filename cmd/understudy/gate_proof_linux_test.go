package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gate"
)

// burnVariable makes a serving test binary take that share more CPU time than it
// needs: "0.1" is a regression of ten per cent, whatever a request costs.
const burnVariable = "UNDERSTUDY_INTERNAL_GATE_BURN"

func init() {
	share, err := strconv.ParseFloat(os.Getenv(burnVariable), 64)
	if err != nil || len(os.Args) < 2 || !slices.Contains([]string{"proxy", "record", "replay"}, os.Args[1]) {
		return
	}
	go burn(share) // ends with the process
}

// burn keeps its own thread's CPU time at share of all the others'.
func burn(share float64) {
	runtime.LockOSThread()
	// Ahead of all others where root may: what is burnt late falls outside of the
	// block whose requests it belongs to.
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
	clock := func(id int32) time.Duration {
		var ts unix.Timespec
		if unix.ClockGettime(id, &ts) != nil {
			return 0
		}
		return time.Duration(ts.Nano())
	}
	for range time.Tick(time.Millisecond) {
		for {
			own, all := clock(unix.CLOCK_THREAD_CPUTIME_ID), clock(unix.CLOCK_PROCESS_CPUTIME_ID)
			if float64(own) >= share*float64(all-own) {
				break
			}
		}
	}
}

// TestGateProof shows with the real thing that a regression of ten per cent is
// caught and that equals are not told apart. It measures for minutes and takes
// the machine to itself: UNDERSTUDY_GATE_PROOF=N runs it with N pairs of equals.
func TestGateProof(t *testing.T) {
	runs, _ := strconv.Atoi(os.Getenv("UNDERSTUDY_GATE_PROOF"))
	if runs < 1 {
		t.Skip("takes minutes of an idle machine; UNDERSTUDY_GATE_PROOF=N runs it")
	}
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	candidate, baseline, budget := filepath.Join(dir, "understudy"), filepath.Join(dir, "baseline"), filepath.Join(dir, "gate.yaml")
	for path, text := range map[string]string{
		candidate: string(data), // by this name the test binary is the program
		baseline:  fmt.Sprintf("#!/bin/sh\nunset %s\nexec %q \"$@\"\n", burnVariable, candidate),
		budget:    "regression: {cpu: 5%}\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	judge := func(share string) (gate.Verdict, gate.Metric, int) {
		cmd := exec.Command(candidate, "gate", "-q", "--json", "--ci", "--scenario", "reverse", "--budget", budget, "--baseline", baseline, "--block", "300ms")
		cmd.Env = append(os.Environ(), "HOME="+dir, burnVariable+"="+share)
		out, err := cmd.Output()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() != 99 {
			t.Fatalf("gate: %v: %s", err, exit.Stderr)
		}
		if len(out) == 0 {
			t.Fatalf("gate: no report: %v", err)
		}
		var r gate.Report
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatal(err)
		}
		for _, m := range r.Scenarios[0].Metrics {
			if m.Name == "cpu_ratio" {
				return r.Verdict, m, r.Scenarios[0].Pairs
			}
		}
		t.Fatalf("no cpu_ratio in %s", out)
		return "", gate.Metric{}, 0
	}
	for share, never := range map[string]gate.Verdict{"0.1": gate.Pass, "0": gate.Fail} {
		got := map[gate.Verdict]int{}
		for range runs {
			v, m, pairs := judge(share)
			got[v]++
			t.Logf("burn %s: %s, cpu_ratio %.3f [%.3f, %.3f] after %d pairs", share, v, m.Estimate, m.Low, m.High, pairs)
		}
		t.Logf("burn %s: %v", share, got)
		if got[never] > 0 {
			t.Errorf("burn %s: %v, want no %s", share, got, never)
		}
	}
}
