package shim

import (
	"errors"
)

// Order is what the shim is to build. It travels in a memfd, and what is to run in
// it, a Command, comes after it.
type Order struct {
	Inherited     []int // descriptors that the command gets, besides the standard streams
	TimerSlack    int   // the command's, ns
	UserNamespace bool  // there are capabilities to give up before the command runs
	Probe         bool  // say how each step went
	IPv6          bool
	AskOutside    bool // about connections to all addresses, not the loopback alone
	Probes        bool // hand over sockets for probes of the link

	// What to send to the kernel. NamespaceFD is the number under which the
	// link's messages know the gateway's namespace.
	NamespaceFD     int
	InnerFD         int  // likewise the command's
	Carry           bool // a process carries the link's packets: its ends are devices, or lie between
	Between         bool // the latter, whatever could be
	DeviceInside    Device
	DeviceOutside   Device
	LinkBetween     Batch // where there are no devices, before LinkInside
	LinkInside      Batch // in the command's namespace, before LinkOutside
	LinkOutside     Batch
	LinkState       Batch // what tells of the command's end
	LinkInside6     Batch // IPv6 is left out if one of these two fails
	LinkOutside6    Batch
	RulesOutside    []Batch // from the wished for to the plainest; the first two ask
	RulesInside     []Batch
	LegacyOutside   [2]Table // of IPv4 and IPv6, where none of the rules can be
	LegacyInside    [2]Table
	QueueSubscribed Batch
	Ports           Ports
	Mark            int // of sockets for published ports
}

// Device is a link's end to be made, for a process to carry its packets.
type Device struct {
	Name    string
	Index   int
	Between int // the index of the other end, where a pair takes its place
}

// Command is what the shim is to run, and the files that are to be seen by it alone.
type Command struct {
	Path     string
	Argv     []string
	Env      []string
	Group    int // its process group; 0: the shim's
	Covers   []Cover
	Contents []Content
}

// Batch is a sequence of netlink messages of which the last asks for an answer.
type Batch struct {
	Messages []byte
	Last     int // the last one's sequence number
}

// Ports are where the transparent sockets listen.
type Ports struct{ TCP, Local, LocalDNS int }

// Cover is a file to be seen at Path: the host's Source, or the content of that number.
type Cover struct {
	Path, Source string
	Content      int
}

// Content is a file's content: a copy of the host's file Base, "" for none, and Bytes after it.
type Content struct {
	Base  string
	Bytes []byte
}

// Note is a message between the shim and its parent. Each kind uses what it needs.
type Note struct {
	Kind   Kind
	Step   string
	Text   string
	Number int
	Errno  int
	Inode  uint64 // of the command's network namespace

	IPv6, AskOutside, AskInside, Carried, Probes bool
}

// Kind is what a note is about.
type Kind int

// What the shim says, and what it is told.
const (
	SaysStep    Kind = iota + 1 // Step succeeded
	SaysFailed                  // Step failed: Text, Errno, and the number of the message that the kernel refused
	SaysSockets                 // here are the descriptors: Handed tells which
	SaysNotRun                  // the command could not be executed: Text, Errno
	SaysRuns                    // the command is process Number
	SaysEnded                   // with wait status Number
	SaysSocket                  // a new one, in the command's namespace; or Text, Errno

	TellsOrder   // the order is written: Number bytes
	TellsCommand // so is the command, behind it
	TellsGo      // run the command
	TellsSignal  // send it signal Number
	TellsSocket  // open one, of address family Number
	TellsEnd     // end all that is left
)

var errShort = errors.New("a message cut short")

// codec writes or reads one value after the other, so that both directions are
// one list.
type codec struct {
	buf     []byte
	reading bool
	err     error
}

func (c *codec) uint64(v *uint64) {
	switch {
	case !c.reading:
		c.buf = appendNumber(c.buf, *v)
	case c.err == nil:
		got, n := number(c.buf)
		if n == 0 {
			c.err = errShort
			return
		}
		*v, c.buf = got, c.buf[n:]
	}
}

// appendNumber writes seven bits a byte, the low ones first; the last byte's eighth
// is 0. It is encoding/binary's varint, whose package is initialised late.
func appendNumber(b []byte, v uint64) []byte {
	for ; v > 0x7f; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

// number reads what appendNumber wrote and tells its size, 0 if it is none.
func number(b []byte) (v uint64, size int) {
	for i, c := range b {
		if i == 9 && c > 1 {
			break // more than 64 bits
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c <= 0x7f {
			return v, i + 1
		}
	}
	return 0, 0
}

func (c *codec) int(v *int) {
	u := uint64(*v)
	c.uint64(&u)
	*v = int(u)
}

func (c *codec) bool(v *bool) {
	var u uint64
	if *v {
		u = 1
	}
	c.uint64(&u)
	*v = u == 1
}

func (c *codec) bytes(v *[]byte) {
	n := uint64(len(*v))
	c.uint64(&n)
	switch {
	case !c.reading:
		c.buf = append(c.buf, *v...)
	case c.err != nil:
	case n > uint64(len(c.buf)):
		c.err = errShort
	default:
		*v, c.buf = c.buf[:n:n], c.buf[n:]
	}
}

func (c *codec) string(v *string) {
	b := []byte(*v)
	c.bytes(&b)
	if c.reading {
		*v = string(b)
	}
}

// list does the same with each element. An element takes at least a byte, so a
// wild length ends early.
func list[T any](c *codec, v *[]T, each func(*T)) {
	n := len(*v)
	c.int(&n)
	if c.reading {
		if c.err == nil && (n < 0 || n > len(c.buf)) {
			c.err = errShort
		}
		if c.err != nil || n == 0 {
			return
		}
		*v = make([]T, n)
	}
	for i := range *v {
		each(&(*v)[i])
	}
}

func (c *codec) batch(b *Batch) {
	c.bytes(&b.Messages)
	c.int(&b.Last)
}

func (c *codec) order(o *Order) {
	list(c, &o.Inherited, c.int)
	c.int(&o.TimerSlack)
	c.bool(&o.UserNamespace)
	c.bool(&o.Probe)
	c.bool(&o.IPv6)
	c.bool(&o.AskOutside)
	c.bool(&o.Probes)
	c.int(&o.NamespaceFD)
	c.int(&o.InnerFD)
	c.bool(&o.Carry)
	c.bool(&o.Between)
	for _, d := range []*Device{&o.DeviceInside, &o.DeviceOutside} {
		c.string(&d.Name)
		c.int(&d.Index)
		c.int(&d.Between)
	}
	for _, b := range []*Batch{&o.LinkBetween, &o.LinkInside, &o.LinkOutside, &o.LinkState, &o.LinkInside6, &o.LinkOutside6} {
		c.batch(b)
	}
	list(c, &o.RulesOutside, c.batch)
	list(c, &o.RulesInside, c.batch)
	for _, t := range []*Table{&o.LegacyOutside[0], &o.LegacyOutside[1], &o.LegacyInside[0], &o.LegacyInside[1]} {
		c.bytes(&t.Bytes)
		c.int(&t.Option)
		c.int(&t.Pointer)
	}
	c.batch(&o.QueueSubscribed)
	c.int(&o.Ports.TCP)
	c.int(&o.Ports.Local)
	c.int(&o.Ports.LocalDNS)
	c.int(&o.Mark)
}

func (c *codec) command(o *Command) {
	c.string(&o.Path)
	list(c, &o.Argv, c.string)
	list(c, &o.Env, c.string)
	c.int(&o.Group)
	list(c, &o.Covers, func(v *Cover) {
		c.string(&v.Path)
		c.string(&v.Source)
		c.int(&v.Content)
	})
	list(c, &o.Contents, func(v *Content) {
		c.string(&v.Base)
		c.bytes(&v.Bytes)
	})
}

func (c *codec) note(n *Note) {
	kind := int(n.Kind)
	c.int(&kind)
	n.Kind = Kind(kind)
	c.string(&n.Step)
	c.string(&n.Text)
	c.int(&n.Number)
	c.int(&n.Errno)
	c.uint64(&n.Inode)
	c.bool(&n.IPv6)
	c.bool(&n.AskOutside)
	c.bool(&n.AskInside)
	c.bool(&n.Carried)
	c.bool(&n.Probes)
}

// Encode returns an order as Decode reads it.
func (o Order) Encode() []byte {
	c := codec{buf: make([]byte, 0, 32<<10)}
	c.order(&o)
	return c.buf
}

// Decode reads an order. It shares the bytes.
func (o *Order) Decode(b []byte) error {
	c := codec{buf: b, reading: true}
	c.order(o)
	return c.err
}

// Encode returns a command as Decode reads it.
func (o Command) Encode() []byte {
	c := codec{buf: make([]byte, 0, 16<<10)}
	c.command(&o)
	return c.buf
}

// Decode reads a command. Its contents share the bytes.
func (o *Command) Decode(b []byte) error {
	c := codec{buf: b, reading: true}
	c.command(o)
	return c.err
}
