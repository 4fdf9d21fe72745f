package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// shimName is the first argument of a process that Shim takes over. The second
// is the number of the descriptor that leads to the parent.
const shimName = "understudy-gateway"

// order is what the shim is to do. It travels in a memfd, followed by the
// contents of the files.
type order struct {
	Path  string
	Argv  []string
	Env   []string
	Files []coverOrder
	Sizes []int // of the contents, in their order

	UserNamespace bool
	IPv6          bool
	AskAlways     bool // about connections to all addresses, not the loopback alone
	Probe         bool // go on where a step that is not needed fails, and say how each went
	Group         int  // the process group of the command; 0: the shim's
	Inherited     []int
}

// coverOrder is a File: Source, or the content of number Content.
type coverOrder struct {
	Path, Source string
	Content      int
}

// note is a message between this process and the shim. Each kind uses what it needs.
type note struct {
	Kind   string
	Step   Step   `json:",omitempty"`
	Text   string `json:",omitempty"`
	Number int    `json:",omitempty"`
	Errno  int    `json:",omitempty"`
	IPv6   bool   `json:",omitempty"`
	Links  []Link `json:",omitempty"`
	Inode  uint64 `json:",omitempty"` // of the command's network namespace

	AskOutside, AskInside bool `json:",omitempty"`
}

// What the shim says, and what it is told.
const (
	saysStep    = "step"    // Step succeeded
	saysFailed  = "failed"  // Step failed: Text, Errno
	saysSockets = "sockets" // here are the descriptors: roles, in their order
	saysNotRun  = "not run" // the command could not be executed: Errno
	saysRuns    = "runs"    // the command is process Number
	saysEnded   = "ended"   // with wait status Number
	saysSocket  = "socket"  // a new one, in the command's namespace; or Errno

	tellsGo     = "go"     // run the command
	tellsSignal = "signal" // send it signal Number
	tellsSocket = "socket" // open one, of address family Number
	tellsEnd    = "end"    // end all that is left
)

// maxNote bounds a message; there is no list of arbitrary length in one.
const maxNote = 16 << 10

// line is one end of the pair of sockets between this process and the shim.
type line struct {
	fd int
	mu sync.Mutex // one sender at a time
}

func (l *line) send(n note, fds ...int) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		err := unix.Sendmsg(l.fd, b, rights, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return os.NewSyscallError("sendmsg", err)
		}
	}
}

// receive waits for a message. io.EOF says that the other process is gone.
func (l *line) receive() (n note, fds []int, err error) {
	buf, oob := make([]byte, maxNote), make([]byte, unix.CmsgSpace(4*64))
	for {
		size, oobSize, _, _, err := unix.Recvmsg(l.fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return note{}, nil, os.NewSyscallError("recvmsg", err)
		case size == 0:
			return note{}, nil, io.EOF
		}
		fds, err = descriptors(oob[:oobSize])
		if err != nil {
			return note{}, nil, err
		}
		if err := json.Unmarshal(buf[:size], &n); err != nil {
			return note{}, nil, fmt.Errorf("a message between understudy and its shim: %w", err)
		}
		return n, fds, nil
	}
}

func descriptors(oob []byte) (fds []int, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, err
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// role is what a descriptor that the shim hands over is for.
type role int

// The roles, in the order in which they are handed over; those of IPv6 are left
// out where there is none, those of asking where the kernel cannot.
const (
	roleTCP4 role = iota
	roleTCP6
	roleLocal4
	roleLocal6
	roleDNS4 // UDP
	roleDNS6
	roleDNSStream4
	roleDNSStream6
	roleLocalDNS4 // UDP
	roleLocalDNS6
	roleLocalDNSStream4
	roleLocalDNSStream6
	roleLocalReply4 // raw: answers in the name of a resolver on the loopback
	roleLocalReply6
	roleUDP4 // raw: sees the UDP that is refused
	roleUDP6
	roleAskOutside
	roleAskInside
	roleDown // NETLINK_ROUTE
	roleUp
	roles
)

func (r role) ipv6() bool {
	switch r {
	case roleTCP6, roleLocal6, roleDNS6, roleDNSStream6, roleLocalDNS6, roleLocalDNSStream6, roleLocalReply6, roleUDP6:
		return true
	}
	return false
}

// handed returns the roles that are handed over.
func handed(ipv6, askOutside, askInside bool) (all []role) {
	for r := range roles {
		if r.ipv6() && !ipv6 || r == roleAskOutside && !askOutside || r == roleAskInside && !askInside {
			continue
		}
		all = append(all, r)
	}
	return all
}

func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = unix.Close(l.fd)
	l.fd = -1
}
