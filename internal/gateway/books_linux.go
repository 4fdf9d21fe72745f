package gateway

import (
	"net/netip"
	"slices"
	"sync"
)

// maxRefused is how many destinations are told apart.
const maxRefused = 512

// udpBooks count refused datagrams by destination.
type udpBooks struct {
	mu     sync.Mutex
	counts map[netip.AddrPort]uint64
}

func (b *udpBooks) add(to netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.counts == nil {
		b.counts = map[netip.AddrPort]uint64{}
	}
	if _, ok := b.counts[to]; !ok && len(b.counts) >= maxRefused {
		to = netip.AddrPort{}
	}
	b.counts[to]++
}

func (c *capture) refusedUDP() []RefusedUDP {
	c.books.mu.Lock()
	defer c.books.mu.Unlock()
	all := make([]RefusedUDP, 0, len(c.books.counts))
	for to, n := range c.books.counts {
		host, _ := c.name(to.Addr())
		all = append(all, RefusedUDP{To: to, Host: host, Datagrams: n})
	}
	slices.SortFunc(all, func(a, b RefusedUDP) int { return a.To.Compare(b.To) })
	return all
}
