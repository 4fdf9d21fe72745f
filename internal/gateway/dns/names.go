package dns

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"sync"
)

// Made-up addresses come from 198.18.0.0/15, which is set aside for measuring
// and routed nowhere (RFC 2544). Its last /24 is left to the caller's link.
var (
	first = binary.BigEndian.Uint32([]byte{198, 18, 0, 1})
	last  = binary.BigEndian.Uint32([]byte{198, 19, 254, 255})
)

// capacity is how many names can have an address.
var capacity = int(last - first + 1)

// Names keeps which address stands for which name. An address once given stays
// with its name. The zero value is ready.
type Names struct {
	mu     sync.RWMutex
	byName map[string]netip.Addr
	names  []string // by address, counted from first
}

// Address returns the address of a name, a new one if it has none. Case and a
// final dot make no difference. It is not ok when all addresses are given away.
func (n *Names) Address(name string) (addr netip.Addr, ok bool) {
	name = canonical(name)
	n.mu.RLock()
	addr, ok = n.byName[name]
	n.mu.RUnlock()
	if ok {
		return addr, true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if addr, ok = n.byName[name]; ok {
		return addr, true
	}
	if len(n.names) >= capacity {
		return netip.Addr{}, false
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], first+uint32(len(n.names)))
	addr = netip.AddrFrom4(b)
	if n.byName == nil {
		n.byName = map[string]netip.Addr{}
	}
	n.byName[name] = addr
	n.names = append(n.names, name)
	return addr, true
}

// Name returns the name that an address stands for.
func (n *Names) Name(addr netip.Addr) (name string, ok bool) {
	addr = addr.Unmap()
	if !addr.Is4() {
		return "", false
	}
	b := addr.As4()
	i := binary.BigEndian.Uint32(b[:]) - first // wraps to something large below first
	n.mu.RLock()
	defer n.mu.RUnlock()
	if uint64(i) >= uint64(len(n.names)) {
		return "", false
	}
	return n.names[i], true
}

// canonical returns a name in lower case and without its final dot.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
