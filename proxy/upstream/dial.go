package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/understudy-proxy/understudy/proxy/sock"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// dialled is a fresh connection.
type dialled struct {
	nc     net.Conn
	h2     bool // TLS negotiated h2
	length struct{ connect, tls time.Duration }
}

// dial connects to h, with a TLS handshake where its scheme wants one. offerH2
// offers h2 beside http/1.1.
func (h *host) dial(ctx context.Context, offerH2 bool) (*dialled, error) {
	t := h.t
	addr := h.addr
	if to, ok := t.Resolve[addr]; ok {
		addr = to
	}
	dctx, cancel := context.WithTimeout(ctx, orDefault(t.DialTimeout, DefaultDialTimeout))
	defer cancel()
	connect := t.DialContext
	if connect == nil {
		connect = t.dialer.DialContext
	}
	d := &dialled{}
	start := time.Now()
	nc, err := connect(dctx, "tcp", addr)
	if err != nil {
		op := "dial"
		if _, ok := errors.AsType[*net.DNSError](err); ok {
			op = "resolve"
		}
		return nil, &wire.UpstreamError{Op: op, Addr: h.addr, Err: cause(ctx, err)}
	}
	nc = sock.Wrap(nc)
	d.nc = nc
	d.length.connect = time.Since(start)
	if !h.secure {
		return d, nil
	}

	start = time.Now()
	hctx, cancel := context.WithTimeout(ctx, orDefault(t.TLSHandshakeTimeout, DefaultTLSHandshakeTimeout))
	defer cancel()
	tc := tls.Client(nc, h.tlsConfig(offerH2))
	if err := tc.HandshakeContext(hctx); err != nil {
		_ = nc.Close()
		return nil, &wire.UpstreamError{Op: "tls", Addr: h.addr, Err: explain(h.name, cause(ctx, err))}
	}
	d.nc = tc
	d.h2 = tc.ConnectionState().NegotiatedProtocol == "h2"
	d.length.tls = time.Since(start)
	return d, nil
}

// cause prefers the reason why ctx ended to what it did to a call.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// tlsConfig is made once a host, so that sessions are resumed.
func (h *host) tlsConfig(offerH2 bool) *tls.Config {
	i := 0
	if offerH2 {
		i = 1
	}
	return h.tls[i]
}

func newTLSConfigs(t *Transport, name string) (cfgs [2]*tls.Config) {
	for i, protos := range [2][]string{{"http/1.1"}, {"h2", "http/1.1"}} {
		cfgs[i] = &tls.Config{
			ServerName:         name,
			RootCAs:            t.RootCAs,
			InsecureSkipVerify: t.InsecureSkipVerify,
			NextProtos:         protos,
			ClientSessionCache: t.sessions,
			MinVersion:         tls.VersionTLS12,
		}
	}
	return cfgs
}

// TLSError is a handshake that failed for a reason with a remedy.
type TLSError struct {
	Host string // without port
	Hint string // the remedy
	Err  error
}

// Error gives host, cause and remedy.
func (e *TLSError) Error() string {
	return fmt.Sprintf("certificate of %s: %v (%s)", e.Host, e.Err, e.Hint)
}

// Unwrap returns the cause.
func (e *TLSError) Unwrap() error { return e.Err }

// explain adds the remedy to the errors that people meet.
func explain(name string, err error) error {
	const off = "or turn verification off, if you must: --set upstream.insecure=true"
	hint := ""
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		hint = "name its authority's certificate: --set upstream.ca_file=FILE, " + off
	} else if _, ok := errors.AsType[x509.HostnameError](err); ok {
		hint = "ask for it by a name that the certificate lists, " + off
	} else if ce, ok := errors.AsType[x509.CertificateInvalidError](err); ok && ce.Reason == x509.Expired {
		hint = "renew it, check this machine's clock, " + off
	} else if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		hint = "have it signed by an authority that this machine trusts, " + off
	} else if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Errorf("%s does not speak TLS on this port (is http:// meant?): %w", name, err)
	} else {
		return err
	}
	return &TLSError{Host: name, Hint: hint, Err: err}
}
