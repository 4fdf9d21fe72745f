//go:build !linux || race

package sock

import (
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

// ReadAfter writes all of out and then reads once into in. What became of the
// write is in Sent, whatever the read gave.
func (c *Conn) ReadAfter(out, in []byte) (n int, sent Sent, err error) {
	if _, sent.Err = c.Write(out); sent.Err == nil {
		sent.At = time.Now()
	}
	n, err = c.Read(in)
	return n, sent, err
}

// NetConn returns the connection below, for its socket.
func (c *Conn) NetConn() net.Conn { return c.TCPConn }

// WriteVec writes all of the pieces, as many as the kernel takes with one call.
// It changes nothing of v but its elements, which are used up.
func (c *Conn) WriteVec(v [][]byte) error {
	b := net.Buffers(v)
	_, err := b.WriteTo(c.TCPConn)
	return err
}

// Stamp has the kernel note from now on when bytes come in, where that can be had.
func (c *Conn) Stamp() {}

// Arrived returns when the bytes of the last Read came in, where the kernel
// noted it, and now otherwise.
func (c *Conn) Arrived() time.Time { return time.Now() }
