package app

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/timeline"
)

// fakeLink is a link that writes down what is put in force, and when.
type fakeLink struct {
	start   time.Time
	at      []time.Duration
	links   []string
	now     shaping.Link
	classes []shaping.LinkClass
	fails   atomic.Pointer[error]
}

func (f *fakeLink) Change(_ context.Context, l shaping.Link, classes ...shaping.LinkClass) error {
	if err := f.fails.Load(); err != nil {
		return *err
	}
	f.at = append(f.at, time.Since(f.start))
	text := fmt.Sprintf("%v %s", time.Since(f.start), l)
	for _, c := range classes {
		text += fmt.Sprintf("; class %s %s", c.Name, c.Link)
	}
	f.links = append(f.links, text)
	f.now, f.classes = l, classes
	return nil
}

func (f *fakeLink) Counters() (map[shaping.Direction]shaping.Counters, error) {
	return map[shaping.Direction]shaping.Counters{shaping.Down: {SentPackets: 3, BacklogBytes: 7}}, nil
}

func (f *fakeLink) Conditions() map[shaping.Direction]shaping.Conditions {
	return map[shaping.Direction]shaping.Conditions{shaping.Down: f.now.Down}
}

func (f *fakeLink) Classes() []shaping.LinkClass { return f.classes }

func (f *fakeLink) ClassCounters() map[string]map[shaping.Direction]shaping.Counters {
	all := map[string]map[shaping.Direction]shaping.Counters{}
	for _, c := range f.classes {
		all[c.Name] = map[shaping.Direction]shaping.Counters{shaping.Up: {SentPackets: 5}}
	}
	return all
}

func (f *fakeLink) Findings() []shaping.Finding { return nil }

var _ inForce = (*fakeLink)(nil)

func planOf(t *testing.T, text string) *timeline.Timeline {
	t.Helper()
	c, err := config.Parse("understudy.yaml", []byte(text), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := timelineOf(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// holding is a link under a plan within a synctest bubble.
type holding struct {
	held
	link   *fakeLink
	isNew  chan struct{}
	told   []string
	stop   context.CancelFunc
	ended  chan error
	stored atomic.Pointer[timeline.Timeline]
}

func holdFor(t *testing.T, text string) *holding {
	t.Helper()
	x := &holding{link: &fakeLink{start: time.Now()}, isNew: make(chan struct{}, 1), ended: make(chan error, 1)}
	x.stored.Store(planOf(t, text))
	x.held = held{link: x.link, start: x.link.start, plan: &x.stored, isNew: x.isNew, tell: func(c change) {
		x.told = append(x.told, strings.TrimSpace(fmt.Sprintf("%v %s %s", c.at, c.step, c.phase)))
	}}
	ctx, stop := context.WithCancel(t.Context())
	x.stop = stop
	link, state, now := x.first()
	if err := x.link.Change(ctx, link, state.Classes...); err != nil {
		t.Fatal(err)
	}
	x.note(state, now)
	go func() { x.ended <- x.run(ctx) }() // ended by end
	return x
}

// end stops what holds the link.
func (x *holding) end(t *testing.T) {
	t.Helper()
	x.stop()
	if err := <-x.ended; err != nil {
		t.Errorf("run = %v, want nil", err)
	}
}

func TestHeldChangesOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := holdFor(t, `
link:
  down: {delay: 40ms}
  steps:
    - {name: tunnel, during: 2m..2m10s, outage: true}
    - {name: slow, during: 3m..4m, down: {rate: 1mbit}}
`)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		x.end(t)
		want := []string{
			// The direction that has conditions only later is shaped from the start.
			"0s down delay=40ms; up limit=1000",
			"2m0s down delay=40ms,loss=100%; up loss=100%",
			"2m10s down delay=40ms; up unchanged",
			"3m0s down delay=40ms,rate=1mbit; up unchanged",
			"4m0s down delay=40ms; up unchanged",
		}
		if !reflect.DeepEqual(x.link.links, want) {
			t.Errorf("the link had\n%s\nwant\n%s", strings.Join(x.link.links, "\n"), strings.Join(want, "\n"))
		}
		told := []string{"2m0s tunnel begins", "2m10s tunnel ends", "3m0s slow begins", "4m0s slow ends"}
		if !reflect.DeepEqual(x.told, told) {
			t.Errorf("told %q, want %q", x.told, told)
		}
		passed := []passage{{"tunnel", 1, 120, 10, -1}, {"slow", 1, 180, 60, -1}}
		if got := x.passages(); !reflect.DeepEqual(got, passed) {
			t.Errorf("passages = %+v, want %+v", got, passed)
		}
	})
}

// A ramp is many changes, 50 ms apart, and told of where it begins and ends.
func TestHeldRamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := holdFor(t, `
link:
  down: {delay: 100ms}
  steps:
    - {name: congestion, during: 1s..4s, ramp: 1s, down: {delay: 200ms}}
`)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		x.end(t)
		if n := len(x.link.links); n != 1+20+20 {
			t.Fatalf("the link changed %d times, want 1 and 20 up and 20 down: %s", n, strings.Join(x.link.links, "\n"))
		}
		for i, at := range x.link.at[1:21] {
			if want := time.Second + time.Duration(i+1)*50*time.Millisecond; at != want {
				t.Errorf("change %d at %v, want %v", i+1, at, want)
			}
		}
		if got, want := x.link.links[10], "1.5s down delay=150ms; up unchanged"; got != want {
			t.Errorf("half of the ramp: %q, want %q", got, want)
		}
		told := []string{"1s congestion begins", "2s congestion full", "3.05s congestion fades", "4s congestion ends"}
		if !reflect.DeepEqual(x.told, told) {
			t.Errorf("told %q, want %q", x.told, told)
		}
	})
}

// A step that lasts at the start is in force and told of; a saved timeline is at once.
func TestHeldPlanIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := holdFor(t, "link: {down: {delay: 40ms}, steps: [{name: early, during: ..1h, down: {delay: 50ms}}]}")
		time.Sleep(time.Minute)
		x.stored.Store(planOf(t, "link: {down: {delay: 70ms}, steps: [{name: late, during: 2m.., up: {delay: 1ms}}]}"))
		x.isNew <- struct{}{}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		x.end(t)
		want := []string{"0s down delay=50ms; up unchanged", "1m0s down delay=70ms; up unchanged", "2m0s down delay=70ms; up delay=1ms"}
		if !reflect.DeepEqual(x.link.links, want) {
			t.Errorf("the link had %q, want %q", x.link.links, want)
		}
		told := []string{"0s early begins", "1m0s  replaced", "1m0s early ends", "2m0s late begins"}
		if !reflect.DeepEqual(x.told, told) {
			t.Errorf("told %q, want %q", x.told, told)
		}
	})
}

func TestHeldCannotChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := holdFor(t, "link: {steps: [{name: tunnel, during: 1m.., outage: true}]}")
		synctest.Wait()
		broken := errors.New("no such link")
		x.link.fails.Store(&broken)
		if err := <-x.ended; err == nil || err.Error() != "link at 1m0s: no such link" {
			t.Errorf("run = %v, want the link's error with its time", err)
		}
		x.stop()
	})
}
