package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-proxy/understudy/proxy/dial"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// Defaults of a Transport.
const (
	DefaultDialTimeout         = 10 * time.Second
	DefaultTLSHandshakeTimeout = 10 * time.Second
	// DefaultMaxIdlePerHost is generous: two, as in net/http, halves a proxy's
	// throughput.
	DefaultMaxIdlePerHost = 512
	// DefaultIdleTimeout is below what nginx (75 s) and AWS load balancers
	// (60 s) allow. Servers that close sooner (Node and Apache, 5 s) are met by
	// a look at the connection before it is used, and by the retry.
	DefaultIdleTimeout = 55 * time.Second
	// DefaultUnacknowledgedTimeout is gRPC's. What was lost is sent again after 0.2, 0.6, 1.4,
	// 3, 6.2 and 12.6 s: ways that come back within half a minute mostly keep their connections.
	DefaultUnacknowledgedTimeout = 20 * time.Second
)

// Transport sends requests to upstreams over pooled connections. It implements
// wire.RoundTripper. Its fields are set before the first RoundTrip and not
// changed afterwards; the zero value is ready. Close ends it.
type Transport struct {
	// RootCAs are the authorities that sign upstreams' certificates; nil means
	// the system's.
	RootCAs *x509.CertPool
	// InsecureSkipVerify accepts any certificate. It is for those who asked.
	InsecureSkipVerify bool
	// DialContext makes a connection; nil means dial.Dialer's.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// DialTimeout bounds dialling, name look-up included; 0 means DefaultDialTimeout.
	DialTimeout time.Duration
	// TLSHandshakeTimeout bounds the handshake, and the wait for a cleartext
	// HTTP/2 server's first words; 0 means DefaultTLSHandshakeTimeout.
	TLSHandshakeTimeout time.Duration
	// ResponseHeaderTimeout bounds the wait for a response's head from the call
	// of RoundTrip, connecting and the request's body included; 0 means for ever.
	ResponseHeaderTimeout time.Duration
	// UnacknowledgedTimeout bounds how long an upstream's machine may leave what was sent to it
	// unacknowledged, on Linux and for as long as a connection speaks HTTP; 0 means
	// DefaultUnacknowledgedTimeout. Less than a second also meets upstreams that are alive, and
	// hold acknowledgements back. It is kept to within a quarter. Exchanges fail with a
	// *SilentError then.
	UnacknowledgedTimeout time.Duration
	// MaxIdlePerHost bounds the idle HTTP/1 connections to one host; 0 means
	// DefaultMaxIdlePerHost.
	MaxIdlePerHost int
	// IdleTimeout closes connections that nobody uses; 0 means DefaultIdleTimeout.
	IdleTimeout time.Duration
	// Resolve sends connections elsewhere, host:port → host:port, as curl's
	// --connect-to does. Names in requests and in TLS stay as they are.
	Resolve map[string]string

	dialer   dial.Dialer            // where DialContext is nil
	sessions tls.ClientSessionCache // made by the first use; guarded by mu

	mu     sync.Mutex
	hosts  map[key]*host
	closed bool

	reaping  rounds // closes what has been idle for long
	watching rounds // gives up what has been silent for long

	last atomic.Pointer[lastAsked]
}

var _ wire.RoundTripper = (*Transport)(nil)

// ErrClosed is the cause of errors after Close.
var ErrClosed = errors.New("the transport is closed")

// errNoHead is the cause where ResponseHeaderTimeout struck.
var errNoHead error = noHeadError{}

type noHeadError struct{}

func (noHeadError) Error() string { return "no response head in time" }
func (noHeadError) Timeout() bool { return true }

// key names a pool.
type key struct {
	secure bool
	addr   string // host:port in lower case
	sni    string // TLS's server name where it is not addr's; "" otherwise
}

// RoundTrip sends r to its host and returns the head of the response. It
// connects to r.Host, or to r.Addr where that is set; the Host field, where
// there is one, is sent as it is.
//
// A request that meets a pooled connection which the server has just closed is
// sent once more on a new one, if nothing of a response came, nothing of its
// body was read, and its method is idempotent (RFC 9110, 9.2.2), or nothing was sent. One that an HTTP/2
// server says it did not act on is sent up to maxTries times whatever its method. Over
// HTTP/2 a body that has been read is sent again, too, up to keptBytes.
func (t *Transport) RoundTrip(ctx context.Context, r *wire.Request) (*wire.Response, error) {
	h, err := t.hostOf(r)
	if err != nil {
		return nil, err
	}
	if t.ResponseHeaderTimeout <= 0 {
		return h.roundTrip(ctx, r)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(t.ResponseHeaderTimeout, func() { cancel(errNoHead) })
	res, err := h.roundTrip(ctx, r)
	late := !timer.Stop()
	if err != nil {
		if late && errors.Is(context.Cause(ctx), errNoHead) {
			err = &wire.UpstreamError{Op: "read", Addr: h.addr, Err: errNoHead}
		}
		cancel(nil)
		return nil, err
	}
	// ctx lives as long as the body.
	res.Body = &boundBody{ReadCloser: res.Body, cancel: cancel}
	return res, nil
}

// asked is how a request named its host.
type asked struct{ scheme, host, addr, serverName string }

// hostOf finds the pool for r. Most requests go where the one before went.
func (t *Transport) hostOf(r *wire.Request) (*host, error) {
	as := asked{r.Scheme, r.Host, r.Addr, r.ServerName}
	if last := t.last.Load(); last != nil && last.asked == as {
		return last.host, nil
	}
	k, err := keyOf(r)
	if err != nil {
		return nil, &wire.UpstreamError{Op: "dial", Addr: r.Host, Err: err}
	}
	h, err := t.host(k)
	if err != nil {
		return nil, &wire.UpstreamError{Op: "dial", Addr: k.addr, Err: err}
	}
	t.last.Store(&lastAsked{as, h})
	return h, nil
}

// lastAsked is where a request went.
type lastAsked struct {
	asked
	host *host
}

// keyOf finds the pool for r.
func keyOf(r *wire.Request) (key, error) {
	k := key{secure: strings.EqualFold(r.Scheme, "https")}
	port := "80"
	if k.secure {
		port = "443"
	} else if !strings.EqualFold(r.Scheme, "http") {
		return k, errors.New("want scheme http or https, got " + quoted(r.Scheme))
	}
	name := strings.ToLower(r.Host)
	if r.Addr != "" {
		name = strings.ToLower(r.Addr)
	}
	k.sni = strings.ToLower(r.ServerName)
	if h, p, err := net.SplitHostPort(name); err == nil {
		name = h
		if p != "" {
			port = p
		}
	} else {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	}
	if name == "" {
		return k, errors.New("the request names no host")
	}
	k.addr = net.JoinHostPort(name, port)
	return k, nil
}

func quoted(s string) string { return `"` + s + `"` }

// host returns the pool called k.
func (t *Transport) host(k key) (*host, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	h := t.hosts[k]
	if h == nil {
		if t.hosts == nil {
			t.hosts = map[key]*host{}
			t.sessions = tls.NewLRUClientSessionCache(256)
		}
		h = newHost(t, k)
		t.hosts[k] = h
	}
	return h, nil
}

func (t *Transport) all() []*host {
	t.mu.Lock()
	defer t.mu.Unlock()
	hosts := make([]*host, 0, len(t.hosts))
	for _, h := range t.hosts {
		hosts = append(hosts, h)
	}
	return hosts
}

// Close ends all connections, with the exchanges on them. Calls of RoundTrip
// fail from here on.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.last.Store(nil)
	t.mu.Unlock()
	t.reaping.end()
	t.watching.end()
	for _, h := range t.all() {
		h.close()
	}
	return nil
}

// probeTimeout is how long a server may take for its first words in HTTP/2 where it may not
// speak that at all: never without a bound.
func (t *Transport) probeTimeout() time.Duration {
	return min(orDefault(t.TLSHandshakeTimeout, DefaultTLSHandshakeTimeout), DefaultTLSHandshakeTimeout)
}

// idleTimeout is IdleTimeout or its default.
func (t *Transport) idleTimeout() time.Duration { return orDefault(t.IdleTimeout, DefaultIdleTimeout) }

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// reapLater looks for connections that have been idle for long, as long as some are idle.
func (t *Transport) reapLater() {
	t.reaping.begin(t.idleTimeout()/4, func() bool {
		more := false
		before := time.Now().Add(-t.idleTimeout())
		for _, h := range t.all() {
			more = h.reap(before) || more
		}
		return more
	})
}
