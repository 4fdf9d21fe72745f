package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/dial"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// Server is what all doors share: how a connection is recognised, intercepted,
// served, and accounted for.
type Server struct {
	Pipeline *Pipeline
	Planner  Planner  // may be nil
	Observer Observer // may be nil
	// TLS serves any host with a certificate of the user's own CA. nil where
	// TLS cannot be intercepted: it is passed on unread then.
	TLS func(fallbackHost string) *tls.Config
	// Pass reports whether connections to host (without port) are to be
	// passed on without a look inside. nil for none.
	Pass func(host string) bool
	// PassAddress reports whether connections to an address are to be passed on
	// whatever name they bear. A transparent door asks it in the place of Pass
	// where it knows an address only. nil for Pass.
	PassAddress func(addr string) bool
	// Dial reaches the destination of a connection that is passed on. nil for
	// dial.Dialer's, within 10 s.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// CACert is the CA's certificate as PEM, served by a forward door at /ca.pem; nil for none.
	CACert []byte
	// Patience is how long a client that is expected to speak first may be silent in a tunnel
	// before its connection is passed on raw; 0 means 1 s.
	Patience time.Duration
	// Grace is how long exchanges under way may take to end once a door closes, before they are
	// broken off; 0 means 10 s. Connections that are passed on unread end at once.
	Grace time.Duration
	// HeadBytes bounds a request's head; 0 for each engine's own bound.
	HeadBytes int
	Log       *zap.Logger // nil for nothing

	dialer dial.Dialer // where Dial is nil
	ids    atomic.Uint64

	mu    sync.Mutex
	doors map[*site]struct{} // those that serve
}

// site is a door: what its connections have in common.
type site struct {
	*Server
	name string
	addr net.Addr // where it listens
	log  *zap.Logger
	// to is the upstream of a reverse door; nil where requests bring their own.
	to *url.URL
	// forward is set on a forward proxy's door.
	forward *forward
	// raw is the destination of a TCP door.
	raw string
	// found tells a transparent door whom a connection was for.
	found Destination
}

// session is one client connection, from accept to its end.
type session struct {
	*site
	conn wire.Conn
	end  ConnEnd
	// refusal is what the rules decided and what has not struck yet, by rule.
	refusal fixtures.Refusal
	rule    string
	loop    bool   // the door leads to itself
	address string // Meant.Address

	used  atomic.Bool            // something was answered
	first atomic.Pointer[string] // the host of the first exchange
	// life ends when the door drains. It is kept here because an engine's own contexts,
	// which reach us at a CONNECT, do not.
	life context.Context
}

// ServeReverse serves ln as a reverse proxy of the upstream at to, whose path,
// if any, is put before each request's. It accepts HTTP/1, HTTP/2 and TLS with
// either. It returns when ctx has ended and all its connections have; ln is closed then.
func (s *Server) ServeReverse(ctx context.Context, ln net.Listener, to *url.URL) error {
	return s.serve(ctx, ln, &site{name: "reverse http://" + ln.Addr().String(), to: to})
}

// ServeTCP serves ln by passing its bytes to the address to, host:port. It
// returns as ServeReverse does.
func (s *Server) ServeTCP(ctx context.Context, ln net.Listener, to string) error {
	return s.serve(ctx, ln, &site{name: "tcp " + ln.Addr().String(), raw: to})
}
