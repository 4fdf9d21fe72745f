package shaping

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

func TestTraces(t *testing.T) {
	tr, err := ParseTrace("t", []byte("# cell\n0\n5\n5\n\n20\n"))
	if err != nil {
		t.Fatal(err)
	}
	if tr.Len() != 4 || tr.Length() != 20*time.Millisecond || tr.Rate() != 4*1504*8*50 {
		t.Errorf("ParseTrace = %d moments in %v, %d bit/s", tr.Len(), tr.Length(), tr.Rate())
	}
	for moment, want := range map[time.Duration]int{0: 0, 1: 1, 5 * time.Millisecond: 1, 6 * time.Millisecond: 3, 21 * time.Millisecond: 4} {
		if got := tr.From(moment); got != want {
			t.Errorf("From(%v) = %d, want %d", moment, got, want)
		}
	}
	d, err := ParseDelayTrace("d", []byte("10s 20ms\n11s,30ms\n13s\t5ms\n"))
	if err != nil {
		t.Fatal(err)
	}
	if d.Length() != 5*time.Second || d.Most() != 30*time.Millisecond {
		t.Errorf("Length = %v, Most = %v, want 5s, 30ms", d.Length(), d.Most())
	}
	for moment, want := range map[time.Duration]time.Duration{0: 20, 999 * time.Millisecond: 20, time.Second: 30, 3 * time.Second: 5, 4999 * time.Millisecond: 5, 5 * time.Second: 20} {
		if got := d.At(moment); got != want*time.Millisecond {
			t.Errorf("At(%v) = %v, want %vms", moment, got, int(want))
		}
	}
}

func TestTracesThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"":       "t:1:1: want a moment after 0",
		"0\n0\n": "t:2:1: want a moment after 0",
		"5\n4\n": "t:2:1: want 5 or more, got 4",
		"1.5\n":  `t:1:1: want whole milliseconds, got "1.5"`,
		"-1":     `t:1:1: want whole milliseconds, got "-1"`,
	} {
		if _, err := ParseTrace("t", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("ParseTrace(%q) = %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"0s 20ms":          "t:1:1: want two moments or more",
		"0s 20ms\n0s 30ms": "t:2:1: want a moment after the one before, got 0s",
		"0 20ms x":         "t:1:1: want a moment and a delay",
		"0s 20":            "t:1:1: the delay: want a duration",
		"1 20ms":           "t:1:1: the moment: want a duration",
	} {
		if _, err := ParseDelayTrace("t", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("ParseDelayTrace(%q) = %v, want %s", text, err, want)
		}
	}
}

func TestTracesInSpecs(t *testing.T) {
	b, err := NewBook()
	if err != nil {
		t.Fatal(err)
	}
	b.Open = func(path string) ([]byte, error) {
		if path == "cell" {
			return []byte("1\n2\n"), nil
		}
		return []byte("0s 1ms\n1s 2ms\n"), nil
	}
	l, err := b.Parse("lte,trace=cell,delay_trace=rtt")
	if err != nil {
		t.Fatal(err)
	}
	if c := l.Down; c.Rate != 0 || c.Delay != 0 || c.Trace.Len() != 2 || c.DelayTrace.Most() != 2*time.Millisecond || !strings.Contains(c.String(), "trace=cell,delay_trace=rtt") {
		t.Errorf("Parse = %v", c)
	}
	c, how := l.Down.Resolve()
	if c.Limit == 0 || !strings.Contains(how, "12.0 Mbit/s, the trace's mean") {
		t.Errorf("Resolve = %d: %s", c.Limit, how)
	}
	if _, err := c.Encode(); err == nil {
		t.Error("Encode took a trace: netem has none")
	}
	if name := c.Beyond(); name != "trace" {
		t.Errorf("Beyond = %q, want trace", name)
	}
	for spec, want := range map[string]string{
		"trace=cell,rate=1mbit":      "link:1:7: trace: want a trace or a rate, got both",
		"delay=1ms,delay_trace=rtt":  "link:1:23: delay_trace: want a delay or a trace of it, got both",
		"trace=rtt":                  "link:1:7: trace: rtt:1:1: want whole milliseconds",
		"delay_trace=cell,delay=1ms": "link:1:13: delay_trace: cell:1:1: want a moment and a delay",
		"delay_trace=rtt,queue=5ms":  "link:1:23: queue: want a rate with it",
		"trace=cell,overhead=3":      "link:1:21: overhead: want a rate with it",
	} {
		if _, err := b.Parse(spec); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Parse(%q) = %v, want %s", spec, err, want)
		}
	}
}

// A file that is not there is told with what paths count from.
func TestTraceThatIsNotThere(t *testing.T) {
	b, err := NewBook()
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range []string{"trace=none.such", "delay_trace=none.such", "delay=4ms,jitter=1ms,distribution=file:none.such"} {
		_, err := b.Parse(spec)
		if e, is := errors.AsType[*place.Error](err); !is || !strings.Contains(e.Msg, "no such file") || !strings.Contains(e.Hint, "counts from the file that names it") {
			t.Errorf("Parse(%q) = %v, want an error with a remedy", spec, err)
		}
	}
}

// What is read is written so that it reads the same, and lies within its bounds; what is
// refused has a place.
func FuzzTraces(f *testing.F) {
	for _, s := range []string{"0\n5\n5\n", "1", "# x\n4294967295\n", "0s 1ms\n1s 2ms", "1h,3us\n2h 0s\n", "5\n4"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		refused := func(err error) {
			if e, ok := errors.AsType[*place.Error](err); !ok || e.Line < 1 || e.Line > strings.Count(string(data), "\n")+1 {
				t.Fatalf("%q: %#v, want a place in it", data, err)
			}
		}
		if tr, err := ParseTrace("t", data); err != nil {
			refused(err)
		} else if back, err := ParseTrace("t", []byte(tr.text())); err != nil || !reflect.DeepEqual(back, tr) || tr.From(tr.Length()) >= tr.Len() {
			t.Fatalf("%q became %q (%v)", data, tr.text(), err)
		}
		if d, err := ParseDelayTrace("t", data); err != nil {
			refused(err)
		} else if back, err := ParseDelayTrace("t", []byte(d.text())); err != nil || !reflect.DeepEqual(back, d) || d.At(d.Length()-1) > d.Most() {
			t.Fatalf("%q became %q (%v)", data, d.text(), err)
		}
	})
}

// text is t as ParseTrace reads it.
func (t *Trace) text() string {
	var b strings.Builder
	for _, ms := range t.at {
		b.WriteString(strconv.FormatUint(uint64(ms), 10) + "\n")
	}
	return b.String()
}

// text is t as ParseDelayTrace reads it.
func (t *DelayTrace) text() string {
	var b strings.Builder
	for i, at := range t.at {
		fmt.Fprintf(&b, "%v %v\n", at, t.delays[i])
	}
	return b.String()
}
