package http1

import (
	"net"

	"github.com/understudy-proxy/understudy/proxy/sock"
)

// peeker looks at a socket without taking anything from it, or waiting.
type peeker struct{ c *sock.Conn } // nil where there is no socket

func newPeeker(nc net.Conn) *peeker {
	c := sock.Of(nc)
	if t := tcpOf(nc); c == nil && t != nil {
		c, _ = sock.Wrap(t).(*sock.Conn)
	}
	return &peeker{c}
}

// stale reports whether the peer ended the connection or sent unasked bytes.
func (p *peeker) stale() bool { return p.c != nil && !p.c.Quiet() }
