package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// load counts the exchanges that are open and the rate at which they begin.
type load struct {
	inFlight atomic.Int64
	hosts    sync.Map // host → *hostLoad; as many as there are upstreams
	last     atomic.Pointer[hostLoad]
	rate     rateMeter
}

// hostLoad are the open exchanges to one host.
type hostLoad struct {
	host string
	open atomic.Int64
}

// hostCounter returns the count of open exchanges to host. Most go where the one
// before went.
func (l *load) hostCounter(host string) *atomic.Int64 {
	if last := l.last.Load(); last != nil && last.host == host {
		return &last.open
	}
	n, ok := l.hosts.Load(host)
	if !ok {
		n, _ = l.hosts.LoadOrStore(host, &hostLoad{host: host})
	}
	to := n.(*hostLoad)
	l.last.Store(to)
	return &to.open
}

// rateSlots divide the rate meter's second.
const rateSlots = 10

// rateMeter counts events over the last second, to a tenth of it. Counts at a
// slot's turn may be off by the events of that instant: it feeds a rule's
// condition, not an account.
type rateMeter struct {
	slots [rateSlots + 1]struct {
		period atomic.Int64
		count  atomic.Int64
	}
}

// add counts an event at the run's clock and returns the events of the second before.
func (m *rateMeter) add(elapsed time.Duration) float64 {
	now := int64(elapsed / (time.Second / rateSlots))
	slot := &m.slots[now%int64(len(m.slots))]
	if p := slot.period.Load(); p != now && slot.period.CompareAndSwap(p, now) {
		slot.count.Store(0)
	}
	slot.count.Add(1)
	var n int64
	for i := range m.slots {
		if p := m.slots[i].period.Load(); p > now-rateSlots && p <= now {
			n += m.slots[i].count.Load()
		}
	}
	return float64(n)
}
