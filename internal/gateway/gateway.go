package gateway

import (
	"context"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// Gateway is a command that runs captured. Its methods may be called from many
// goroutines.
type Gateway struct {
	c *capture
}

// Start builds the namespaces and runs the command in them. When ctx ends before the
// command it is killed, and with it all that it left. It returns a *StepError if this machine cannot capture, a
// *CommandError if the command could not be run, what Options.Ready returned, or why
// ctx ended; then nothing is left. Else the caller serves Listeners, calls Wait, and Close
// at the end.
func Start(ctx context.Context, o Options) (*Gateway, error) { return start(ctx, o) }

// Ahead are namespaces that are being made before it is known what runs in them.
type Ahead struct{ ahead }

// Prepare begins what Start does, as far as Dir, the standard streams, NoIPv6, Carry,
// Between and Probes of the options tell, while the caller finds out the rest; asks says
// whether there will be an Admission. What goes wrong is told by Start. Either Start or
// Close must follow.
func Prepare(o Options, asks bool) *Ahead { return begin(&o, asks, false) }

// Unprepare tells that no command will be captured: what this program has begun by
// itself, because its command line looked as if, is taken back.
func Unprepare() { unprepare() }

// Close takes back what Start has not used. Nil is allowed, and a second call does
// nothing.
func (a *Ahead) Close() {
	if a != nil {
		a.close()
	}
}

// Probe goes through all the steps for real, with a command that does nothing,
// and tells what became of each. It leaves nothing.
func Probe(ctx context.Context) []Finding { return probe(ctx) }

// EndOrphans kills what captured commands have left whose understudy and shim were killed
// in the same instant, so that nobody was there to do it, and returns the processes'
// numbers. It looks at every process of the machine, and leaves alone what this user may
// not look into; it gives up when ctx ends. A process that is captured itself ends nothing.
func EndOrphans(ctx context.Context) (pids []int) { return endOrphans(ctx) }

// Shim returns at once, unless this process was started by Probe as the command
// of its trial: then it is that and does not return. It must be the first thing in
// main, and in TestMain of tests that call Start. A process that Start has started
// to build the namespaces does not come so far: package shim takes it over.
func Shim() { shimIfAny() }

// Listeners returns the sockets to which all TCP of the command comes, whatever
// address and port it asked for. A connection is a *net.TCPConn whose LocalAddr
// is what the command asked for, and RemoteAddr the command's end. One to the
// loopback keeps its address too: dialled by this process it is the host's
// loopback. They are closed by Close.
func (g *Gateway) Listeners() []net.Listener { return g.c.listeners }

// Name returns the host name behind an address: the one for which the address
// was made up, else the first that /etc/hosts has for it, and localhost for the
// loopback.
func (g *Gateway) Name(addr netip.Addr) (host string, ok bool) { return g.c.name(addr) }

// MadeUp reports whether an address stands for a name, and nobody can have meant it itself.
func (g *Gateway) MadeUp(addr netip.Addr) bool { return g.c.madeUp(addr) }

// RefusedUDP returns what UDP was refused so far, at most some hundreds of
// destinations; what comes beyond them is counted at the zero AddrPort.
func (g *Gateway) RefusedUDP() []RefusedUDP { return g.c.refusedUDP() }

// Published returns where the published ports are reached, in the order of
// Options.Publish.
func (g *Gateway) Published() []netip.AddrPort { return g.c.publishedAt() }

// Link is one end of the command's link, for shaping. A socket is needed because
// this process cannot enter the namespace: its messages act there.
type Link struct {
	Name   string
	Index  int
	Socket *os.File `json:"-"` // NETLINK_ROUTE, made in the end's namespace; the Gateway's own
	// Device is the end itself where Options.Carry asked for that, else nil: each read
	// returns a frame that the end sends, each write is one that it receives, with the
	// 10 bytes of a virtio_net_hdr before them. It is not in the runtime's poller. The
	// Gateway's own: who carries makes a copy of the descriptor.
	Device *os.File `json:"-"`
}

// Down is the gateway's end: what it sends goes to the command.
func (g *Gateway) Down() Link { return g.c.down }

// Up is the command's end: what it sends comes from the command.
func (g *Gateway) Up() Link { return g.c.up }

// Probes are the sockets for probes of the link, where Options.Probes asked for them: raw
// ICMP, the gateway's end's and the command's, which tell when a packet came
// (SO_TIMESTAMPNS) and how many they could not hold (SO_RXQ_OVFL). A packet that one end
// sends to the other's address comes to the other's socket. They are the caller's, who
// closes them before the command starts: what they see is the command's own too.
func (g *Gateway) Probes() (down, up ProbeEnd) { return g.c.probes() }

// ProbeEnd is one end of a link, for probes.
type ProbeEnd struct {
	Socket  *os.File
	Address netip.Addr // its own
}

// Signal sends a signal to the command alone. It returns os.ErrProcessDone when
// the command has ended.
func (g *Gateway) Signal(s os.Signal) error {
	n, ok := s.(syscall.Signal)
	if !ok {
		return os.ErrInvalid
	}
	return g.c.signal(n)
}

// Wait waits for the command's end and returns its exit code, or 128+n if signal
// n ended it. The error says that the end is not known, because the shim was
// killed; the code is then 137. What the command left running runs on until
// Close.
func (g *Gateway) Wait() (code int, err error) { return g.c.wait() }

// Close ends every process that is still there, SIGTERM first and SIGKILL two
// seconds later, closes the sockets and waits until all of it is gone. Accepted
// connections are the caller's. A second call does nothing.
func (g *Gateway) Close() error { return g.c.close() }
