package width

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

func TestParseIdle(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"cpu  10132153 290696 3084719 46828483 16683 0 25195 0 175628 0\ncpu0 1": 46845166 * tick,
		"cpu 1 2 3 4 5\n": 9 * tick, // an old kernel's
	} {
		if got, err := parseIdle([]byte(text)); err != nil || got != want {
			t.Errorf("parseIdle(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "cpu  1 2 3 4", "cpu 1 2 3 4\n", "cpu 1 2 3 4 5", "cpu0 1 2 3 4 5\n", "cpu 1 2 3 -4 5\n"} {
		if got, err := parseIdle([]byte(text)); err == nil {
			t.Errorf("parseIdle(%q) = %v, want an error", text, got)
		}
	}
}

// What the kernel writes is read back; whatever else comes is refused or harmless.
func FuzzParseIdle(f *testing.F) {
	f.Add("", uint32(46828483), uint32(16683))
	f.Add("cpu  1 2 3 4 5 6\n", uint32(0), uint32(1))
	f.Fuzz(func(t *testing.T, text string, idle, iowait uint32) {
		_, _ = parseIdle([]byte(text))
		line := fmt.Sprintf("cpu  7 8 9 %d %d 0 1 0 0 0\n%s", idle, iowait, text)
		want := (time.Duration(idle) + time.Duration(iowait)) * tick
		if got, err := parseIdle([]byte(line)); err != nil || got != want {
			t.Errorf("parseIdle(%q) = %v, %v; want %v", line, got, err, want)
		}
	})
}

func TestParseSwitches(t *testing.T) {
	for text, want := range map[string]uint64{
		"cpu  1 2 3 4 5\nintr 9 0 0\nctxt 1102222594\nbtime 7\n": 1102222594,
		"cpu  1 2 3 4 5\nctxt 7":                                 7,
		"cpu  1 2 3 4 5\n":                                       0,
		"ctxt 7\n":                                               0, // never the first
		"cpu  1\nctxt many\n":                                    0,
	} {
		if got := parseSwitches([]byte(text)); got != want {
			t.Errorf("parseSwitches(%q) = %d, want %d", text, got, want)
		}
	}
}

// This machine can be seen, and its width set and given back.
func TestHost(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	m, err := newHost()
	if err != nil {
		t.Skip("this machine cannot be seen: ", err)
	}
	defer m.close()
	a, err := m.read()
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.read()
	if err != nil {
		t.Fatal(err)
	}
	if a.switches == 0 || b.switches < a.switches {
		t.Errorf("%d switches and then %d, want some and no fewer", a.switches, b.switches)
	}
	if b.used < a.used || !b.at.After(a.at) {
		t.Errorf("read %v and then %v, want time and use to go on", a, b)
	}
	all := m.widen()
	m.narrow(1)
	if got := m.full(); got != 1 {
		t.Errorf("narrowed to 1, the runtime has %d", got)
	}
	if got := m.widen(); got != all {
		t.Errorf("widened to %d, want %d as before", got, all)
	}
}

func BenchmarkRead(b *testing.B) {
	m, err := newHost()
	if err != nil {
		b.Skip(err)
	}
	defer m.close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.read(); err != nil {
			b.Fatal(err)
		}
	}
}
