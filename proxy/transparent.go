package proxy

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Destination tells whom a connection was for that came to us unasked. An error's
// connection is dropped, with the error as the reason.
type Destination func(nc net.Conn) (Meant, error)

// Meant is whom a connection was for, host:port.
type Meant struct {
	Host string // with the name where it is known
	// Address is the same by address, where that has a name but may have been meant
	// itself; "" where Host says all.
	Address string
}

// ServeTransparent serves ln, whose connections were made to others and came
// here all the same. What is HTTP or TLS goes through the pipeline, all else is
// passed on unread, to where it was meant to go. name is the door's, for the
// ledger. It returns as ServeReverse does.
func (s *Server) ServeTransparent(ctx context.Context, ln net.Listener, name string, to Destination) error {
	return s.serve(ctx, ln, &site{name: name, found: to})
}

// transparent serves a connection that was meant for others.
func (s *session) transparent(ctx context.Context, nc net.Conn, to Meant) {
	host := to.Host
	s.conn.Transparent = true
	s.address = to.Address
	s.conn.Host = host
	s.end.Host = host
	if s.passes(hostname(host)) {
		s.pass(ctx, nc, host, protoNothing)
		return
	}
	s.speak(ctx, nc, s.patience())
	if s.end.Host == "" {
		s.end.Host = host
	}
}

// passes reports whether a connection is passed on before it says anything. One
// that is known by its address alone will tell its name in TLS, and is judged by
// that; its address counts only where it was named itself.
func (s *session) passes(host string) bool {
	pass := s.Pass
	if _, err := netip.ParseAddr(host); err == nil && s.PassAddress != nil {
		pass = s.PassAddress
	}
	return pass != nil && pass(host)
}

// patience is how long a client may be silent before it is taken for one that
// waits for the server to speak.
func (s *session) patience() time.Duration {
	if s.Patience == 0 {
		return time.Second
	}
	return s.Patience
}
