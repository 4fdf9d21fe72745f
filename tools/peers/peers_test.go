package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseLoad(t *testing.T) {
	got, err := parseLoad("Running 2s test\nRESULT 17000 2001000 1234 5678 3\n")
	want := load{requests: 17000, took: 2001 * time.Millisecond, p50: 1234, p99: 5678, errors: 3}
	if err != nil || got != want {
		t.Errorf("parseLoad = %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "unable to connect", "RESULT 1 2 3"} {
		if _, err := parseLoad(bad); err == nil {
			t.Errorf("parseLoad(%q) = nil error, want one", bad)
		}
	}
}

func TestRatiosAreTakenWithinARound(t *testing.T) {
	// The machine was twice as slow in the second round; the ratio was not.
	us := &cell{samples: []sample{{cpu: 22}, {cpu: 44}, {cpu: 33}}}
	ref := &cell{samples: []sample{{cpu: 20}, {cpu: 40}, {cpu: 20}}}
	if got, want := us.against(ref, ratio(cpuOf)).wide(2), "1.10 (1.10–1.65)"; got != want {
		t.Errorf("against = %s, want %s", got, want)
	}
	var none *cell
	if got := us.against(none, ratio(cpuOf)).wide(2); got != "–" {
		t.Errorf("against no reference = %s, want –", got)
	}
}

func TestOver(t *testing.T) {
	if got, want := over([]float64{4, math.NaN(), 1, 2, 3}), (spread{2.5, 1, 4}); got != want {
		t.Errorf("over = %v, want %v", got, want)
	}
	for in, want := range map[string]string{"12": "12", "1234.5": "1,234.5", "1234567": "1,234,567", "-123": "-123", "-1234": "-1,234"} {
		if got := thousands(in); got != want {
			t.Errorf("thousands(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	tables := []*table{{group: group{name: "http-1k"}, cells: []*cell{
		{subject: nameHAProxy, conns: 64, samples: []sample{{cpu: 20, rps: 30000}}},
		{subject: nameUs, conns: 64, samples: []sample{{cpu: 21, rps: 20000}}},
	}}}
	got := verdicts(tables)
	for _, want := range []string{
		"| pass-through, 1 KiB: CPU | 64 | HAProxy (http) | at most 1.10 × | 1.05 (1.05–1.05) | met |",
		"| pass-through, 1 KiB: requests/s | 64 | HAProxy (http) | at least 0.90 × | 0.67 (0.67–0.67) | missed |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("verdicts = %s, want a line %s", got, want)
		}
	}
	if strings.Contains(got, "replay") {
		t.Errorf("verdicts = %s, want nothing of what was not measured", got)
	}
}

// Of whom no delay is asked, because the clients make it, nothing is deducted.
func TestDelays(t *testing.T) {
	tb := &table{group: group{asked: 10 * time.Millisecond, conns: []int{1}, subjects: []subject{{name: "paced", paced: true}, {name: "delaying"}}}, cells: []*cell{
		{subject: "paced", conns: 1, samples: []sample{{p50: 70, p99: 400, cpu: 30, rss: 20,
			stamps: stamps{requests: 100, socket50: 40, socket99: 300, seen50: 80, seen99: 350}}}},
		{subject: "delaying", conns: 1, samples: []sample{{p50: 10_090, p99: 10_600, cpu: 400, rss: 25,
			stamps: stamps{requests: 1_000, unstamped: 2, socket50: 10_010, socket99: 10_100, seen50: 10_075, seen99: 10_200}}}},
	}}
	var out strings.Builder
	tb.delays(&out)
	for _, want := range []string{
		"| 1 | paced | 70 (70–70) | 400 (400–400) | 40 (40–40) | 300 (300–300) | 80 | 350 | 30.0 | 20 |",
		"| 1 | delaying | 90 (90–90) | 600 (600–600) | 10 (10–10) | 100 (100–100) | 75 | 200 | 400.0 | 25 |",
		"Of the second client's 1,100 answers 2 had no stamp",
		"*At the socket* is",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("delays = %s, want a line %s", out.String(), want)
		}
	}
}

func TestTargetsNameSubjects(t *testing.T) {
	there := map[string]bool{}
	for _, g := range groups(options{stubs: 10}) {
		for _, s := range g.subjects {
			there[g.name+"/"+s.name] = true
		}
	}
	for _, want := range targets() {
		for _, name := range []string{want.subject, want.ref} {
			if name != "" && !there[want.group+"/"+name] {
				t.Errorf("target %q is about %q of %s, want a subject of that group", want.says, name, want.group)
			}
		}
	}
}

func TestReplaceMarked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.md")
	if err := os.WriteFile(path, []byte("a\n"+beginMark+"\nold\n"+endMark+"\nz\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replaceMarked(path, "new\n"); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(path)
	if want := "a\n" + beginMark + "\nnew\n" + endMark + "\nz\n"; string(got) != want {
		t.Errorf("replaceMarked = %q, want %q", got, want)
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replaceMarked(path, "x"); err == nil {
		t.Error("replaceMarked without marks = nil, want an error")
	}
}

func TestProcess(t *testing.T) {
	b := &bench{dir: t.TempDir(), env: os.Environ()}
	// The shell's child does the work: the tree counts.
	p, err := b.start("busy", "sh", "-c", "(while :; do :; done); true")
	if err != nil {
		t.Fatal(err)
	}
	defer b.stop(p)
	for len(p.tree()) < 2 {
		if err := p.alive(); err != nil {
			t.Fatal(err)
		}
	}
	first, err := p.cpu()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		now, err := p.cpu()
		if err != nil {
			t.Fatal(err)
		}
		if now > first+10*time.Millisecond {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("cpu = %v after 10 s of a busy child, want more than %v", now, first)
		}
	}
	if p.rss() == 0 {
		t.Error("rss = 0, want the memory of the tree")
	}
}
