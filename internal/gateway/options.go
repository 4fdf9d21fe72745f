package gateway

import (
	"context"
	"net/netip"
	"os"

	"github.com/understudy-proxy/understudy/internal/gateway/dns"
)

// Options say what to run and how. Only Argv is needed.
type Options struct {
	Argv []string // the program, looked up in the PATH of Env, and its arguments
	Dir  string   // working directory; empty: this process's
	Env  []string // NAME=value; nil: this process's

	// The command gets these very files, nil is this process's own. It stays in
	// this process's session, process group and terminal.
	Stdin, Stdout, Stderr *os.File

	// Files are seen by the command alone, in place of those that are there.
	Files []File

	// Publish makes ports of the command reachable from the host.
	Publish []Publish

	// Resolver decides what a name resolves to; nil makes up an address for
	// every name.
	Resolver Resolver

	// Admission is asked about each TCP connection before its handshake, so that
	// a connection which cannot be made is refused and not first accepted. Nil:
	// one to the loopback is admitted if something listens on the host's, all
	// others are. Where the kernel cannot ask (Gateway.Asks), all are admitted.
	// It is called from many goroutines; while it thinks, that client waits.
	Admission func(context.Context, Connection) Admission

	// Refused is told of each connection that was refused where Admission is nil. It is
	// called from many goroutines; nil hears nothing.
	Refused func(Connection)

	// Ahead is where Prepare has begun; nil begins now. It is used up by Start.
	Ahead *Ahead

	// Ready is called when all stands and before the command starts. An error
	// ends the start and is returned by it.
	Ready func(*Gateway) error

	// Carry makes the two ends of the command's link devices of which this process
	// carries the packets, from one to the other: see Link.Device. Nothing passes until
	// it does. Else the kernel carries them.
	Carry bool
	// Between carries by packet sockets, in a namespace between the two, also where
	// devices could be made. Without it that is so where they cannot: an ordinary user
	// may not open /dev/net/tun on some systems, and containers have none.
	Between bool

	// Probes opens sockets for probes of the command's link: see Gateway.Probes.
	Probes bool

	// NoIPv6 leaves the command without IPv6. Without it IPv6 is there if the
	// kernel has it.
	NoIPv6 bool
}

// File is something to be seen in place of the file at Path: the host's file
// Source if that is set, else a copy of the host's file Base, if that is set,
// followed by Content. Path may be a symbolic link: what it points to is covered.
// Where there is nothing at Path, nothing is done.
type File struct {
	Path    string
	Source  string
	Base    string // read by another process: it costs this one nothing
	Content []byte
}

// Publish lets what comes to On, an address of the host, reach Port among the
// command's processes, at their loopback. Port 0 in On picks a free one.
type Publish struct {
	On   netip.AddrPort
	Port uint16
}

// Question is a question of the command to a resolver.
type Question = dns.Question

// Reply is what becomes of a question.
type Reply = dns.Reply

// The replies. MakeUp answers A with a made-up address, which Gateway.Name
// knows, and other types with no records (AAAA included: a client must not
// prefer an IPv6 address that cannot be judged).
const (
	MakeUp      = dns.MakeUp
	NoSuchName  = dns.NoSuchName  // NXDOMAIN
	ServerFails = dns.ServerFails // SERVFAIL
	Silence     = dns.Silence     // no answer: the client's own timeout
)

// Resolver decides about names. It is called from many goroutines, may take its
// time, and should return when ctx ends.
type Resolver interface {
	Resolve(ctx context.Context, q Question) Reply
}

// Connection is what is known of a TCP connection before it is made.
type Connection struct {
	From, To netip.AddrPort // To is what the command asked for
	Host     string         // the name behind To, if known: see Gateway.Name
	Loopback bool           // To is the loopback: 127.0.0.0/8 or ::1
}

// Admission is what becomes of a connection before its handshake.
type Admission int

// The verdicts. Refuse looks as if nothing listened there (ECONNREFUSED), Ignore
// as if the packets were lost.
const (
	Admit Admission = iota
	Refuse
	Ignore
)

// RefusedUDP counts datagrams that were refused: no UDP but DNS passes.
type RefusedUDP struct {
	To        netip.AddrPort
	Host      string // the name behind To, if known
	Datagrams uint64
}
