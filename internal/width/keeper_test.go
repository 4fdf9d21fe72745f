package width

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// model is a machine whose load a test sets.
type model struct {
	mu         sync.Mutex
	idle, used float64 // processors
	runtime    int     // what the runtime would take
	width      int
	fail       error

	rate           float64 // exchanges a second
	alone, batched float64 // switches an exchange, without batches and with them
	batch          bool

	sum    reading
	done   float64 // exchanges
	reads  int
	closed bool
}

func newModel() *model { return &model{idle: 2, runtime: 2, width: 2} }

func (m *model) read() (reading, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	now := time.Now()
	if m.sum.at.IsZero() {
		m.sum.at = now
	}
	took := float64(now.Sub(m.sum.at))
	done, each := m.rate*took/float64(time.Second), m.alone
	if m.batch {
		each = m.batched
	}
	m.done += done
	m.sum = reading{now, m.sum.idle + time.Duration(m.idle*took), m.sum.used + time.Duration(m.used*took), m.sum.switches + uint64(each*done)}
	return m.sum, m.fail
}

// work is the model's as a keeper asks for it: none where it has no rate.
func (m *model) work() Work {
	if m.rate == 0 {
		return Work{}
	}
	return Work{
		Done: func() uint64 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return uint64(m.done)
		},
		Batch: func(on bool) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.batch = on
		},
	}
}

// works sets how many exchanges a second there are.
func (m *model) works(rate float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rate = rate
}

// batches is whether there are.
func (m *model) batches() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.batch
}

func (m *model) full() int        { return m.set(0) }
func (m *model) narrow(width int) { m.set(width) }
func (m *model) widen() int       { return m.set(m.runtime) }

func (m *model) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
}

// set sets the width, unless to 0, and returns it.
func (m *model) set(width int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if width > 0 {
		m.width = width
	}
	return m.width
}

// pass lets time pass with a load; what is due at its end is done.
func (m *model) pass(d time.Duration, idle, used float64) {
	m.mu.Lock()
	m.idle, m.used = idle, used
	m.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
}

// looks is how often it was read.
func (m *model) looks() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

// kept is a keeper that runs until stop, which returns its error, and what it told.
type kept struct {
	*Keeper
	told func() []Change
	stop func() error
}

// keep runs a keeper of m, which looks at whole tenths of a second of the caller's
// bubble unless it is woken; the caller goes on 10 ms after them.
func keep(t *testing.T, m *model) kept {
	t.Helper()
	var mu sync.Mutex
	var all []Change
	ctx, cancel := context.WithCancel(t.Context())
	k := newKeeper(m, m.work(), func(c Change) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, c)
	})
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }() // ends with stop
	time.Sleep(10 * time.Millisecond)
	told := func() []Change {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
	return kept{k, told, func() error {
		cancel()
		return <-ended
	}}
}

func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := keep(t, m)
		m.pass(10*time.Second, 2, 0)
		m.pass(2*time.Second, 0.25, 0.875)
		if got := m.full(); got != 1 {
			t.Errorf("width on a full machine = %d, want 1", got)
		}
		m.mu.Lock()
		m.runtime = 4 // the cgroup's limit has grown
		m.mu.Unlock()
		m.pass(500*time.Millisecond, 2, 0.5)
		if got := m.full(); got != 4 {
			t.Errorf("width with processors to spare = %d, want the runtime's 4", got)
		}
		m.pass(time.Second, 0.25, 1.75)
		if got := m.full(); got != 2 {
			t.Errorf("width on a full machine = %d, want 2 of the 4", got)
		}
		m.pass(time.Minute, 0.25, 1.75)
		err := k.stop()
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		want := []Change{{Width: 1, Narrow: true, Idle: 0.25, Used: 0.875}, {Width: 4, Narrow: false, Idle: 2.5 / 3, Used: 0.75}, {Width: 2, Narrow: true, Idle: 0.25, Used: 1.75}}
		if got := k.told(); !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
		if m.width != 4 || !m.closed {
			t.Errorf("left width %d, closed %v; want the runtime's 4, true", m.width, m.closed)
		}
	})
}

// Without work it looks once a second, and where there is nothing to choose likewise.
func TestKeeperRests(t *testing.T) {
	for processors, used := range map[int]float64{2: 0, 1: 0.9} {
		synctest.Test(t, func(t *testing.T) {
			m := newModel()
			m.runtime, m.width = processors, processors
			k := keep(t, m)
			m.pass(10*time.Second, 0, used)
			if err := k.stop(); err != nil {
				t.Errorf("Run = %v, want nil", err)
			}
			if m.reads != 11 {
				t.Errorf("%d looks in ten seconds with %d processors, want 11", m.reads, processors)
			}
		})
	}
}

func TestKeeperCannotSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := keep(t, m)
		m.pass(2*time.Second, 0, 0.9)
		if got := m.full(); got != 1 {
			t.Errorf("width on a full machine = %d, want 1", got)
		}
		gone := errors.New("gone")
		m.mu.Lock()
		m.fail = gone
		m.mu.Unlock()
		m.pass(time.Second, 0, 0.9)
		if got := m.full(); got != 2 {
			t.Errorf("width when nothing can be seen = %d, want the runtime's 2", got)
		}
		if err := k.stop(); !errors.Is(err, gone) || !m.closed {
			t.Errorf("Run = %v, closed %v; want %v, true", err, m.closed, gone)
		}
	})
}

func TestEnvironmentHasTheWord(t *testing.T) {
	t.Setenv("GOMAXPROCS", "3")
	if k, err := New(Work{}, nil); err == nil {
		k.machine.close()
		t.Error("New with GOMAXPROCS in the environment = nil, want an error")
	}
}
