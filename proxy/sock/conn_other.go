//go:build !linux

package sock

import (
	"errors"
	"net"
	"time"
)

// Conn is a TCP connection. Raw calls are made on Linux only, and not under the
// race detector, which learns from the net package's own what happens before what.
type Conn struct{ *net.TCPConn }

// Wrap returns nc as a *Conn where it is a *net.TCPConn, and nc itself
// otherwise. The two are one connection: whoever closes one closes the other.
func Wrap(nc net.Conn) net.Conn {
	if t, ok := nc.(*net.TCPConn); ok {
		return &Conn{t}
	}
	return nc
}

// ReadInto reads once into what in lends.
func (c *Conn) ReadInto(in Room) (int, error) {
	n, err := c.Read(in.Take())
	if n == 0 {
		in.Drop()
	}
	return n, err
}

// ReadAfter writes all of out and then reads once into what in lends. What became of the
// write is in Sent, whatever the read gave.
func (c *Conn) ReadAfter(out []byte, in Room) (n int, sent Sent, err error) {
	giveWay(asking)
	if _, sent.Err = c.Write(out); sent.Err == nil {
		sent.At = time.Now()
	}
	n, err = c.ReadInto(in)
	return n, sent, err
}

// Withheld is given by no read here.
var Withheld = errors.New("what comes in is withheld")

// Withhold returns false: nothing is withheld.
func (c *Conn) Withhold(bool) bool { return false }

// NetConn returns the connection below, for its socket.
func (c *Conn) NetConn() net.Conn { return c.TCPConn }

// WriteVec writes all of the pieces, as many as the kernel takes with one call.
// It changes nothing of v but its elements, which are used up.
func (c *Conn) WriteVec(v [][]byte) error {
	b := net.Buffers(v)
	_, err := b.WriteTo(c.TCPConn)
	return err
}

// Reset closes the connection with RST: no FIN, and what is still in the kernel's
// send buffer is lost.
func (c *Conn) Reset() {
	_ = c.SetLinger(0) // fails where it is closed already
	_ = c.Close()
}

// Steady reports whether Each may be called, which it may not.
func (c *Conn) Steady() bool { return false }

// Each is not to be called: see Steady.
func (c *Conn) Each(Room, func(n int) bool) error { return errors.ErrUnsupported }

// WhenEnded returns false: the end shows in a read alone.
func (c *Conn) WhenEnded(func()) bool { return false }

// Forget undoes WhenEnded.
func (c *Conn) Forget() {}

// Rouse is for reads that can miss something, which none here can.
func (c *Conn) Rouse() {}

// WriteWithin is for who is called by Each.
func (c *Conn) WriteWithin(p []byte) (int, error) { return c.Write(p) }

// Try writes what the kernel takes of p at once, and returns how much: nothing here.
func (c *Conn) Try([]byte, bool) int { return 0 }

// Stamp has the kernel note from now on when bytes come in, where that can be had.
func (c *Conn) Stamp() {}

// Arrived returns when the bytes of the last Read came in, where the kernel
// noted it, and now otherwise.
func (c *Conn) Arrived() time.Time { return time.Now() }

// Waiting reports whether what was sent waits to be acknowledged, which is not known here.
func (c *Conn) Waiting() (waiting bool, heard time.Duration) { return false, 0 }
