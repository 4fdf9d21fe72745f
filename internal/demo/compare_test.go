package demo

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// The comparison counts what is not the same.
func TestCompareFindsDifferences(t *testing.T) {
	const d = 10 * time.Millisecond
	at := func(step string, status int, body byte) call {
		return call{op: "GET /a", step: step, elapsed: d, status: status, digest: [32]byte{body}}
	}
	before := []call{at("same", 200, 1), at("other body", 200, 2), at("other status", 200, 3), at("missed", 200, 4), at("not made", 200, 5), at("broke", 200, 6)}
	missed, broke := at("missed", 502, 9), at("broke", 200, 6)
	missed.missed, broke.err = true, errors.New("cut off")
	after := []call{at("other status", 201, 3), at("same", 200, 1), at("other body", 200, 8), missed, broke}
	got := compare(pair(before, after))
	if len(got) != 1 {
		t.Fatalf("compare = %+v, want one operation", got)
	}
	if o := got[0]; o.Count != 6 || o.Hits != 3 || o.Misses != 1 || o.Identical != 1 {
		t.Errorf("compare = %+v, want 6 calls, 3 hits, 1 miss, 1 identical", o)
	}
}

func TestOffRhythm(t *testing.T) {
	for _, c := range []struct {
		recorded, replayed Quantiles
		off                bool
	}{
		{Quantiles{P50: 40, P95: 200}, Quantiles{P50: 41, P95: 220}, false},
		{Quantiles{P50: 40, P95: 200}, Quantiles{P50: 1, P95: 200}, true}, // at once
		{Quantiles{P50: 40, P95: 200}, Quantiles{P50: 90, P95: 200}, true},
		{Quantiles{P50: 40, P95: 200}, Quantiles{P50: 40, P95: 45}, true}, // without the tail
		{Quantiles{P50: 40, P95: 200}, Quantiles{P50: 40, P95: 350}, true},
		{Quantiles{P50: 2, P95: 8}, Quantiles{P50: 3, P95: 40}, false}, // a busy machine
		{Quantiles{P50: 200, P95: 230}, Quantiles{P50: 270, P95: 290}, true},
		{Quantiles{P50: 200, P95: 230}, Quantiles{}, true},
	} {
		got := offRhythm([]Operation{{Name: "GET /a", Recorded: c.recorded, Replayed: c.replayed}})
		if (got != "") != c.off {
			t.Errorf("offRhythm(%v, %v) = %q, want a finding: %v", c.recorded, c.replayed, got, c.off)
		}
	}
}

func TestBrownedOut(t *testing.T) {
	phases := func(failed ...int) []Phase {
		list := make([]Phase, len(failed))
		for i, n := range failed {
			list[i] = Phase{Checkouts: 10, Failed: n}
		}
		return list
	}
	for _, c := range []struct {
		phases []Phase
		want   bool
	}{
		{phases(0, 2, 7, 0), true}, {phases(1, 2, 7, 0), false}, {phases(0, 2, 7, 1), false},
		{phases(0, 7, 2, 0), false}, {phases(0, 0, 0, 0), false}, {make([]Phase, 4), false},
	} {
		if got := brownedOut(c.phases); got != c.want {
			t.Errorf("brownedOut(%+v) = %v, want %v", c.phases, got, c.want)
		}
	}
}

// What lies across an edge belongs to no phase: it is not known on which side it was decided.
func TestPhases(t *testing.T) {
	zero := time.Unix(0, 0)
	at := func(s, e int) visit {
		return visit{op: "checkout", start: zero.Add(time.Duration(s) * time.Second), elapsed: time.Duration(e-s) * time.Second, status: 502}
	}
	got := phases([]visit{at(1, 2), at(1, 4), at(4, 5), at(6, 7), at(9, 12), {op: "browse", start: zero}}, []span{
		{"a", time.Time{}, zero.Add(3 * time.Second)}, {"b", zero.Add(4 * time.Second), zero.Add(7 * time.Second)}, {"c", zero.Add(9 * time.Second), time.Time{}},
	})
	for i, want := range []int{1, 2, 1} {
		if got[i].Checkouts != want || got[i].Failed != want {
			t.Errorf("phase %s = %+v, want %d checkouts, all failed", got[i].Name, got[i], want)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"": "''", "-o": "-o", "a b": "'a b'", `{"a:80": "b"}`: `'{"a:80": "b"}'`, "it's": `'it'\''s'`, "127.0.0.1:0=http://payments": "127.0.0.1:0=http://payments",
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s, want %s", in, got, want)
		}
	}
}

// An inconclusive gate does not fail the tour; a failed one does.
func TestJudge(t *testing.T) {
	for code, want := range map[int]int{0: 0, exitInconclusive: 0, exitGateFailed: 99} {
		tour := &tour{}
		tour.judge(code)
		tour.result.finish(time.Second)
		if got := tour.result.ExitCode(); got != want {
			t.Errorf("gate exits %d: the tour exits %d, want %d", code, got, want)
		}
		if open := tour.result.Checks[0].Open; open != (code == exitInconclusive) {
			t.Errorf("gate exits %d: open = %v", code, open)
		}
	}
}

// A command that is shown can be typed.
func TestCommandIsShown(t *testing.T) {
	var b strings.Builder
	story{&b}.command("record", "-o", "/tmp/a-rather-long-name-of-a-directory/payments", "--reverse", "127.0.0.1:0=http://payments", "--set", "a={b: c}")
	want := "  $ understudy record -o /tmp/a-rather-long-name-of-a-directory/payments \\\n      --reverse 127.0.0.1:0=http://payments --set 'a={b: c}'\n"
	if b.String() != want {
		t.Errorf("command =\n%swant\n%s", b.String(), want)
	}
	story{}.command("nobody", "listens")
}
