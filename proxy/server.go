package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/http1"
	"github.com/understudy-proxy/understudy/proxy/http2"
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
	// Dial reaches the destination of a connection that is passed on. nil for
	// net.Dialer's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// CACert is the CA's certificate as PEM, served by a forward door at /ca.pem; nil for none.
	CACert []byte
	// Patience is how long a client that is expected to speak first may be silent in a tunnel
	// before its connection is passed on raw; 0 means 1 s.
	Patience time.Duration
	// Grace is how long exchanges under way may take to end once a door closes, before they are
	// broken off; 0 means 10 s.
	Grace time.Duration
	Log   *zap.Logger // never nil

	ids atomic.Uint64
}

// site is a door: what its connections have in common.
type site struct {
	*Server
	name string
	// to is the upstream of a reverse door; nil where requests bring their own.
	to *url.URL
	// forward is set on a forward proxy's door.
	forward *forward
	// raw is the destination of a TCP door.
	raw string
}

// session is one client connection, from accept to its end.
type session struct {
	*site
	conn wire.Conn
	end  ConnEnd
	used bool // an exchange was served
	// life ends when the door drains. It is kept here because an engine's own contexts,
	// which reach us at a CONNECT, do not.
	life context.Context
}

// ServeReverse serves ln as a reverse proxy of the upstream at to, whose path,
// if any, is put before each request's. It accepts HTTP/1, HTTP/2 and TLS with
// either. It returns when ctx has ended and all its connections have.
func (s *Server) ServeReverse(ctx context.Context, ln net.Listener, to *url.URL) error {
	return s.serve(ctx, ln, &site{Server: s, name: "reverse http://" + ln.Addr().String(), to: to})
}

// ServeTCP serves ln by passing its bytes to the address to, host:port.
func (s *Server) ServeTCP(ctx context.Context, ln net.Listener, to string) error {
	return s.serve(ctx, ln, &site{Server: s, name: "tcp " + ln.Addr().String(), raw: to})
}

// serve accepts until ctx ends, then waits for the connections.
func (s *Server) serve(ctx context.Context, ln net.Listener, d *site) error {
	var open connSet
	defer open.wait(s.Grace)
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	for pause := 5 * time.Millisecond; ; {
		nc, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = nc.Close()
			}
			return nil
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED):
			s.Log.Warn("accept", zap.String("door", d.name), zap.Error(err))
			select { // a descriptor may come free
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, time.Second)
			continue
		case err != nil:
			return fmt.Errorf("accept on %s: %w", d.name, err)
		}
		pause = 5 * time.Millisecond
		open.add(nc)
		go func() { // owned by this loop: open.wait
			defer open.remove(nc)
			d.take(ctx, nc)
		}()
	}
}

// connSet are the connections of a door.
type connSet struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	left  sync.WaitGroup
}

func (o *connSet) add(nc net.Conn) {
	o.left.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conns == nil {
		o.conns = map[net.Conn]struct{}{}
	}
	o.conns[nc] = struct{}{}
}

func (o *connSet) remove(nc net.Conn) {
	o.mu.Lock()
	delete(o.conns, nc)
	o.mu.Unlock()
	o.left.Done()
}

// wait returns when all connections have ended; those that outlast grace are closed.
func (o *connSet) wait(grace time.Duration) {
	if grace == 0 {
		grace = 10 * time.Second
	}
	timer := time.AfterFunc(grace, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for nc := range o.conns {
			_ = nc.Close()
		}
	})
	defer timer.Stop()
	o.left.Wait()
}

// take serves one connection and accounts for it.
func (d *site) take(ctx context.Context, nc net.Conn) {
	s := &session{site: d, life: ctx, conn: wire.Conn{
		ID: d.ids.Add(1), Door: d.name, Client: nc.RemoteAddr(), Local: nc.LocalAddr(), At: time.Now(),
	}}
	if d.Observer != nil {
		d.Observer.ConnOpened(&s.conn)
	}
	defer func() {
		if p := recover(); p != nil { // one connection's fault must not end the others
			s.Log.Error("panic in a connection", zap.Any("panic", p), zap.Stack("stack"), zap.String("door", d.name))
			s.drop(fmt.Sprintf("internal error: %v", p))
			_ = nc.Close()
		}
		if s.end.Fate == "" {
			s.drop("closed before a request")
		}
		if d.Observer != nil {
			d.Observer.ConnClosed(&s.conn, s.end)
		}
	}()
	host := d.raw
	if d.to != nil {
		host = d.to.Host
	}
	if s.refused(nc, host) {
		return
	}
	if d.raw != "" {
		s.pass(ctx, nc, d.raw)
		return
	}
	s.speak(ctx, nc, 0)
}

// refused asks the rules whether the connection is let in.
func (s *session) refused(nc net.Conn, host string) bool {
	if s.Planner == nil {
		return false
	}
	refusal, rule := s.Planner.Door(&s.conn, host)
	if refusal != fixtures.RefuseConnection {
		return false
	}
	s.end = ConnEnd{Fate: ConnRefused, Reason: "rule " + rule, Host: host}
	reset(nc)
	return true
}

// speak recognises what the client speaks and serves it. patience is how long
// it may be silent before it is taken for one that waits for the server; 0 for ever.
func (s *session) speak(ctx context.Context, nc net.Conn, patience time.Duration) {
	c, p, err := sniff(ctx, nc, patience)
	if err != nil {
		if len(c.ahead) > 0 || !isDisconnect(err) && ctx.Err() == nil {
			s.drop(err.Error())
		}
		_ = c.Close()
		return
	}
	switch p {
	case protoTLS:
		s.intercept(ctx, c)
	case protoRaw:
		if s.conn.Host == "" {
			s.drop("neither HTTP nor TLS: first bytes " + quoted(c.ahead))
			_ = c.Close()
			return
		}
		s.pass(ctx, c, s.conn.Host)
	default:
		s.http(ctx, c, p)
	}
}

// intercept answers a TLS client with a certificate of our own, or passes it on.
func (s *session) intercept(ctx context.Context, c *peekConn) {
	name, _, err := clientHello(c, 10*time.Second)
	if err != nil {
		s.drop("no TLS ClientHello: " + err.Error())
		_ = c.Close()
		return
	}
	host := name
	if host == "" {
		host = hostname(s.conn.Host)
	}
	if host == "" && s.to != nil {
		host = s.to.Hostname()
	}
	if s.Planner != nil {
		if refusal, rule := s.Planner.Door(&s.conn, host); refusal != fixtures.RefuseNone {
			s.end = ConnEnd{Fate: ConnRefused, Reason: "rule " + rule, Host: host, Protocol: string(protoTLS)}
			if refusal == fixtures.RefuseTLS {
				_, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, 40}) // alert: fatal, handshake_failure (RFC 8446, 6)
				_ = c.Close()
				return
			}
			reset(c)
			return
		}
	}
	if s.conn.Host != "" && (s.TLS == nil || s.Pass != nil && s.Pass(host)) {
		s.pass(ctx, c, s.conn.Host)
		return
	}
	if s.TLS == nil {
		s.drop("TLS, and no CA to answer with")
		_ = c.Close()
		return
	}
	tc := tls.Server(c, s.TLS(host))
	hctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := tc.HandshakeContext(hctx); err != nil {
		s.end = ConnEnd{Fate: ConnDropped, Host: host, Protocol: string(protoTLS), Reason: distrust(err)}
		s.Log.Warn("TLS client left", zap.String("host", host), zap.Error(err),
			zap.String("hint", "the client may not trust understudy's CA: `understudy ca path` names its file, and docs/tls.md each runtime's variable"))
		_ = c.Close()
		return
	}
	state := tc.ConnectionState()
	s.conn.TLS = &state
	if s.conn.Host == "" && s.forward != nil {
		s.conn.Host = host
	}
	p := protoHTTP1
	if state.NegotiatedProtocol == "h2" {
		p = protoHTTP2
	}
	s.http(ctx, tc, p)
}

// distrust explains a handshake that a client broke off.
func distrust(err error) string {
	if isDisconnect(err) || strings.Contains(err.Error(), "unknown certificate") || strings.Contains(err.Error(), "bad certificate") || strings.Contains(err.Error(), "unknown certificate authority") {
		return "TLS client left before the handshake ended: does it trust understudy's CA? (" + err.Error() + ")"
	}
	return "TLS handshake: " + err.Error()
}

// http serves HTTP on a connection, cleartext or decrypted.
func (s *session) http(ctx context.Context, nc net.Conn, p protocol) {
	s.end = ConnEnd{Fate: ConnCaptured, Protocol: string(p), Host: s.conn.Host}
	if s.to != nil {
		s.end.Host = s.to.Host
	}
	var err error
	if p == protoHTTP2 {
		err = (&http2.Server{Handler: s}).ServeConn(ctx, nc, &s.conn)
	} else {
		err = (&http1.Server{Handler: s}).ServeConn(ctx, nc, &s.conn)
	}
	if errors.Is(err, http1.ErrHijacked) {
		return // whoever took it over has accounted for it
	}
	if err != nil && s.end.Reason == "" && !isDisconnect(err) && ctx.Err() == nil {
		s.end.Reason = err.Error()
	}
	if s.end.Fate == ConnCaptured && !s.used {
		s.end.Fate = ConnDropped
		if s.end.Reason == "" {
			s.end.Reason = "closed before a request"
		}
	}
}

// ServeWire takes one request from an engine to the pipeline, through the door's own
// handling of proxy requests.
func (s *session) ServeWire(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
	if s.forward != nil && s.conn.Host == "" {
		s.forward.serve(ctx, w, r, s)
		return
	}
	s.exchange(ctx, w, r)
}

// exchange completes a request's address and hands it to the pipeline.
func (s *session) exchange(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
	s.used = true
	switch {
	case s.to != nil:
		r.Scheme, r.Host = s.to.Scheme, s.to.Host
		if r.Target != "*" {
			r.Target = strings.TrimSuffix(s.to.EscapedPath(), "/") + r.Target
		}
	case s.conn.Host != "": // inside a tunnel
		r.Scheme = "http"
		if s.conn.TLS != nil {
			r.Scheme = "https"
		}
		if r.Host == "" {
			r.Host = s.conn.Host
		}
	}
	if r.Method == "CONNECT" {
		refuse(ctx, w, problem(501, "CONNECT inside a tunnel", "a tunnel was asked for where HTTP requests are expected", nil))
		return
	}
	s.Pipeline.Serve(ctx, w, r, &s.conn)
}

// refuse answers with words of our own, outside the pipeline.
func refuse(_ context.Context, w wire.ResponseWriter, f *fixtures.Fault) {
	if err := w.WriteHead(&wire.Head{Status: f.Status, Header: f.Header, Length: int64(len(f.Body))}); err != nil {
		return
	}
	if _, err := w.Write(f.Body); err != nil {
		return
	}
	_ = w.Finish(nil)
}

// pass carries a connection's bytes to addr unread.
func (s *session) pass(ctx context.Context, nc net.Conn, addr string) {
	defer nc.Close()
	dial := s.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	up, err := dial(ctx, "tcp", addr)
	if err != nil {
		s.end = ConnEnd{Fate: ConnDropped, Host: addr, Protocol: string(protoRaw), Reason: err.Error()}
		s.Log.Warn("upstream", zap.String("door", s.name), zap.Error(err))
		reset(nc)
		return
	}
	in, out, err := tunnel(ctx, nc, up)
	s.end = ConnEnd{Fate: ConnPassed, Host: addr, Protocol: string(protoRaw), BytesIn: in, BytesOut: out}
	if err != nil && !isDisconnect(err) && ctx.Err() == nil {
		s.end.Reason = err.Error()
	}
}

// drop notes that the connection could not be served, unless its fate is known.
func (s *session) drop(reason string) {
	s.end.Fate, s.end.Reason = ConnDropped, reason
	if s.end.Host == "" {
		s.end.Host = s.conn.Host
	}
}

// isDisconnect reports whether err is only the other side going away.
func isDisconnect(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ENOTCONN)
}

// quoted shows the start of b.
func quoted(b []byte) string {
	if len(b) > 16 {
		return fmt.Sprintf("%q…", b[:16])
	}
	return fmt.Sprintf("%q", b)
}

// hostname is host without its port.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}
