package http1

import (
	"net"

	"github.com/understudy-proxy/understudy/proxy/sock"
)

// netConner is a connection made of another, as *tls.Conn and sniffing doors are.
type netConner interface{ NetConn() net.Conn }

// tcpOf finds the TCP connection below nc; nil where there is none.
func tcpOf(nc net.Conn) *net.TCPConn {
	for {
		if t, ok := nc.(*net.TCPConn); ok {
			return t
		}
		below, ok := nc.(netConner)
		if !ok {
			return nil
		}
		next := below.NetConn()
		if next == nil || next == nc {
			return nil
		}
		nc = next
	}
}

// plainConn is a connection made of another whose bytes are the same, but for
// what was read ahead: writes may go to the one below.
type plainConn interface{ Plain() net.Conn }

func plainOf(nc net.Conn) net.Conn {
	for {
		p, ok := nc.(plainConn)
		if !ok {
			return nc
		}
		nc = p.Plain()
	}
}

// aheadConn is a plainConn that tells how many bytes were read ahead and not handed
// out yet: once there are none, reads may go to the one below, too.
type aheadConn interface {
	plainConn
	Ahead() int
}

// drained finds the *sock.Conn below nc that may be read in its place; nil where there
// is none, or while there are bytes that were read ahead.
func drained(nc net.Conn) *sock.Conn {
	for {
		if c, ok := nc.(*sock.Conn); ok {
			return c
		}
		a, ok := nc.(aheadConn)
		if !ok || a.Ahead() > 0 {
			return nil
		}
		nc = a.Plain()
	}
}

// leftoverConn reads what was read ahead before the connection itself.
type leftoverConn struct {
	net.Conn
	rest []byte
}

// withLeftover returns nc itself where nothing was read ahead.
func withLeftover(nc net.Conn, rest []byte) net.Conn {
	if len(rest) == 0 {
		return nc
	}
	return &leftoverConn{Conn: nc, rest: rest}
}

func (c *leftoverConn) Read(p []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		if c.rest = c.rest[n:]; len(c.rest) == 0 {
			c.rest = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite half-closes where the connection below can, and closes it otherwise.
func (c *leftoverConn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Conn.Close()
}

// NetConn returns the connection below, for those who reach for its socket.
func (c *leftoverConn) NetConn() net.Conn { return c.Conn }

// Ahead returns how many bytes were read ahead and are still to be read.
func (c *leftoverConn) Ahead() int { return len(c.rest) }

// Plain returns the connection below, for writing.
func (c *leftoverConn) Plain() net.Conn { return c.Conn }
