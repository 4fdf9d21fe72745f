package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/http1"
	"github.com/understudy-proxy/understudy/proxy/http2"
	"github.com/understudy-proxy/understudy/proxy/sock"
)

// handshakeTime bounds a client's TLS handshake.
const handshakeTime = 10 * time.Second

// headTime bounds how long a client may take from a request's first byte to its
// head's end: one that never gets there must not hold its connection for ever.
const headTime = time.Minute

// speak recognises what the client speaks and serves it. patience is how long
// it may be silent before it is taken for one that waits for the server; 0 for ever.
func (s *session) speak(ctx context.Context, nc net.Conn, patience time.Duration) {
	c, p, err := sniff(ctx, nc, patience)
	s.recognised(ctx, c, p, err)
}

// recognised serves a client that speaks p, or of which err is all that is known.
func (s *session) recognised(ctx context.Context, c *peekConn, p protocol, err error) {
	switch {
	case err != nil:
		if len(c.ahead) > 0 || !isDisconnect(err) && ctx.Err() == nil {
			s.drop(err.Error())
		}
		_ = c.Close()
	case p == protoTLS:
		s.intercept(ctx, c)
	case p == protoRaw && s.conn.Host != "" && len(c.ahead) == 0:
		s.silent(ctx, c)
	case p == protoRaw && s.conn.Host != "":
		s.pass(ctx, c, s.conn.Host, protoRaw)
	case p == protoRaw: // only HTTP can be served here: the engine says what is wrong with it
		first := quoted(c.ahead)
		s.http(ctx, c, protoHTTP1)
		s.drop("neither HTTP nor TLS: first bytes " + first)
		s.end.Protocol = string(protoRaw)
	default:
		s.http(ctx, c, p)
	}
}

// intercept answers a TLS client with a certificate of our own, or passes it on.
func (s *session) intercept(ctx context.Context, c *peekConn) {
	said, err := clientHello(ctx, c, handshakeTime)
	if err != nil {
		s.drop("no TLS ClientHello: " + err.Error())
		_ = c.Close()
		return
	}
	name := said.serverName
	if name == "" && s.address != "" { // a client that knows a name says it
		s.conn.Host = s.address
	}
	// Whom the connection is for, and whom the client takes us for.
	host, known := name, name
	if host == "" {
		host = hostname(s.conn.Host)
		known = host
	}
	if s.to != nil {
		host = s.to.Host
	}
	if known == "" {
		known = hostOf(s.conn.Local)
	}
	switch s.refuses(host) {
	case fixtures.RefuseConnection:
		s.refused(host, protoTLS)
		sock.Reset(c)
		return
	case fixtures.RefuseTLS:
		s.refused(host, protoTLS)
		_, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, 40}) // alert: fatal, handshake_failure (RFC 8446, 6)
		_ = closeWrite(c)
		drain(c)
		_ = c.Close()
		return
	}
	if s.conn.Host != "" && (s.TLS == nil || s.Pass != nil && s.Pass(host)) {
		s.pass(ctx, c, s.conn.Host, protoTLS)
		return
	}
	if other := said.other(); other != "" && s.conn.Host != "" {
		s.pass(ctx, c, s.conn.Host, protoTLS) // TLS of another protocol: there is nothing to intercept
		if s.end.Fate == ConnPassed && s.end.Reason == "" {
			s.end.Reason = "speaks " + other + " over TLS, not HTTP"
		}
		return
	}
	if s.TLS == nil {
		s.drop("TLS, and no CA to answer with")
		s.end.Protocol = string(protoTLS)
		_ = c.Close()
		return
	}
	tc := tls.Server(c, s.TLS(known))
	hctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	if err := tc.HandshakeContext(hctx); err != nil {
		s.end = ConnEnd{Fate: ConnDropped, Host: host, Protocol: string(protoTLS)}
		s.end.Reason, s.end.Untrusted = distrust(err)
		if s.end.Untrusted {
			alone := "--pass " + host + " leaves it alone"
			if s.to != nil {
				alone = "--tcp in place of --reverse passes it on unread"
			}
			s.log.Warn("TLS client left", zap.String("host", host), zap.Error(err),
				zap.String("hint", "the client may not trust understudy's CA: `understudy ca path` names its file, docs/tls.md each runtime's variable; "+alone))
		} else {
			s.log.Warn("TLS client cannot be served", zap.String("host", host), zap.Error(err))
		}
		_ = c.Close()
		return
	}
	state := tc.ConnectionState()
	s.conn.TLS = &state
	if s.conn.Host == "" && s.forward != nil && name != "" {
		s.conn.Host = authority("https", name)
	}
	p := protoHTTP1
	if state.NegotiatedProtocol == "h2" {
		p = protoHTTP2
	}
	s.http(ctx, tc, p)
}

// distrust explains a handshake that failed, and tells whether the client broke it off.
func distrust(err error) (reason string, untrusted bool) {
	text := err.Error()
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		text = op.Err.Error() // without the addresses: the ledger adds up what is the same
	}
	// A client that refuses a certificate says so in an alert, hangs up, or ends the
	// handshake in the clear, which shows as a record that cannot be decrypted.
	for _, sign := range []string{"unknown certificate", "bad certificate", "unknown certificate authority", "bad record MAC"} {
		if isDisconnect(err) || strings.Contains(text, sign) {
			return "TLS client left before the handshake ended: does it trust understudy's CA? docs/tls.md (" + text + ")", true
		}
	}
	return "TLS handshake: " + text, false
}

// http serves HTTP on a connection, cleartext or decrypted.
func (s *session) http(ctx context.Context, nc net.Conn, p protocol) {
	s.end = ConnEnd{Fate: ConnCaptured, Protocol: string(p), Host: s.conn.Host}
	if s.to != nil {
		s.end.Host = s.to.Host
	}
	var err error
	if p == protoHTTP2 {
		err = (&http2.Server{Handler: s, MaxHeaderListSize: uint32(s.HeadBytes)}).ServeConn(ctx, nc, &s.conn)
	} else {
		err = (&http1.Server{Handler: s, MaxHeadBytes: s.HeadBytes, HeadTimeout: headTime}).ServeConn(ctx, nc, &s.conn)
	}
	if host := s.first.Load(); host != nil && s.end.Fate == ConnCaptured {
		s.end.Host = *host
	}
	if errors.Is(err, http1.ErrHijacked) {
		return // whoever took it over has accounted for it
	}
	if err != nil && s.end.Reason == "" && !isDisconnect(err) && ctx.Err() == nil {
		s.end.Reason = err.Error()
	}
	switch {
	case s.loop && s.used.Load():
		s.dropLoop()
	case s.end.Fate == ConnCaptured && !s.used.Load():
		s.end.Fate = ConnDropped
		if s.end.Reason == "" {
			s.end.Reason = "closed before a request"
		}
	}
}
