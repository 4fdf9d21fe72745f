package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// testStart holds what packages make before main, for every command, within bounds: by
// `GODEBUG=inittrace=1` fewer than 40 kB are ours, a regular expression alone is 5 kB and
// 60 objects. It is asked of the program as it is installed: under the race detector all
// is larger.
func (s *stage) testStart(t *testing.T) {
	cmd := exec.Command(s.bin, "--version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace bytes.Buffer
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^init (\S+) @.* clock, (\d+) bytes, (\d+) allocs$`)
	ofOurs, ofAll := 0, 0
	for _, m := range line.FindAllStringSubmatch(trace.String(), -1) {
		size, _ := strconv.Atoi(m[2])
		ofAll += size
		if m[1] == "main" || strings.HasPrefix(m[1], "github.com/understudy-proxy/") {
			ofOurs += size
			t.Logf("%6d bytes, %3s objects: %s", size, m[3], m[1])
		}
	}
	if ofOurs == 0 {
		t.Fatalf("no package of ours is in the trace:\n%s", trace.String())
	}
	if ofOurs > 64<<10 {
		t.Errorf("our packages make %d bytes before main, want at most 64 KiB: sync.OnceValue makes them when they are asked for", ofOurs)
	}
	if ofAll > 1<<20 {
		t.Errorf("all packages make %d bytes before main, want at most 1 MiB: which is new?\n%s", ofAll, trace.String())
	}
}

// One command alone is what it is among the others.
func TestCommandsAlone(t *testing.T) {
	for _, c := range commands {
		alone, _, err := newRoot(c.name).Find([]string{c.name})
		if err != nil || alone.Name() != c.name {
			t.Fatalf("%s: %v, %v", c.name, alone.Name(), err)
		}
		among, _, err := newRoot("").Find([]string{c.name})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := alone.UsageString(), among.UsageString(); got != want {
			t.Errorf("%s alone:\n%s\namong others:\n%s", c.name, got, want)
		}
	}
}
