package redirect

import "net/netip"

// Kept is the name of the table that Leave writes.
const Kept = "understudy-redirect"

// dnsPort is never redirected, whatever the rules say: names are the resolver's affair.
const dnsPort = 53

// Ports is a range of ports, both ends included.
type Ports struct{ From, To uint16 }

// Rules say which TCP connections of this network namespace are led to doors.
// What comes in from outside to this machine's own addresses never is, nor is
// what is meant for port 53.
type Rules struct {
	// IPv4 and IPv6 are the ports of the doors, which must listen on the
	// loopback, or on all addresses; 0 leaves that family alone.
	IPv4, IPv6 uint16
	// Forwarded leads also what this machine forwards for others; the doors must
	// listen on all addresses then.
	Forwarded bool
	Ports     []Ports        // only these; empty for all
	SkipPorts []Ports        // but not these
	Skip      []netip.Prefix // nor what goes to these
	SkipUIDs  []uint32       // nor what processes of these users do
	// Own are the ports of this process's other listeners; on this machine's
	// addresses they are left alone, as the doors' are.
	Own []uint16
}
