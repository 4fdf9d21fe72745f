package http2

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/sock"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// ErrUnserved marks errors of requests that the server did not act on, by its
// own word (REFUSED_STREAM, GOAWAY) or because nothing of them was sent, and
// whose body was not read or begins anew, by a method Rewind() bool that it may have:
// they may be sent again whatever their method.
var ErrUnserved = errors.New("the request was not served")

// ErrRefused marks those of them that are so by the server's own word: another
// connection, or a later try, may serve them.
var ErrRefused = errors.New("the server refused the request")

// ErrLost marks errors of requests on a connection that had served before and
// was lost before a byte of the response came; their body was not read, or begins
// anew. They may be sent again where their method is idempotent.
var ErrLost = errors.New("the connection was lost")

// clientTransport holds the settings of all client connections; it dials
// nothing. Its receive windows (1 GiB a connection, 4 MiB a stream) are the
// module's own.
var clientTransport = &xhttp2.Transport{
	DisableCompression: true,
	AllowHTTP:          true,
	MaxHeaderListSize:  1 << 20,
	// A peer that vanished without a FIN is found by PING.
	ReadIdleTimeout: 30 * time.Second,
	PingTimeout:     15 * time.Second,
}

// Conn is an HTTP/2 connection to an upstream. It carries many exchanges at
// once; its methods may be called from many goroutines.
//
// It adapts golang.org/x/net/http2's client. Field names go out and come back
// in lower case. The values of one name keep their order; that of different
// names is lost: a response's fields come sorted by name. Cookies are sent one
// pair a field. Once the server has answered with a status above 299, the rest
// of the request's body is not sent.
type Conn struct {
	cc   *xhttp2.ClientConn
	nc   net.Conn
	addr string
	used atomic.Bool

	cause atomic.Pointer[error] // see Fail
}

// NewConn takes over nc, which is ready to speak HTTP/2 (negotiated by TLS, or
// cleartext with prior knowledge), and sends the client preface. addr is
// host:port for errors. nc is closed with the Conn, or where NewConn fails.
// Close ends the Conn.
func NewConn(nc net.Conn, addr string) (*Conn, error) {
	cc, err := clientTransport.NewClientConn(nc)
	if err != nil {
		_ = nc.Close()
		return nil, &wire.UpstreamError{Op: "write", Addr: addr, Err: err}
	}
	return &Conn{cc: cc, nc: nc, addr: addr}, nil
}

// Handshake returns nil when the peer has proved that it speaks HTTP/2, by
// answering a PING. It is needed only where nothing was negotiated.
func (c *Conn) Handshake(ctx context.Context) error {
	if err := c.cc.Ping(ctx); err != nil {
		return &wire.UpstreamError{Op: "protocol", Addr: c.addr, Err: err}
	}
	return nil
}

// CanTakeNewRequest reports whether a request could start now: the connection
// is open, and neither GOAWAY nor the peer's limit of streams stands in the way.
func (c *Conn) CanTakeNewRequest() bool { return c.cc.CanTakeNewRequest() }

// Reserve is CanTakeNewRequest that also keeps the place for the next RoundTrip.
func (c *Conn) Reserve() bool { return c.cc.ReserveNewRequest() }

// Idle reports whether no exchange is under way or about to be, and since when.
func (c *Conn) Idle() (since time.Time, idle bool) {
	st := c.cc.State()
	return st.LastIdle, st.StreamsActive+st.StreamsReserved+st.StreamsPending == 0
}

// Open reports whether the connection carries or could carry exchanges.
func (c *Conn) Open() bool { return !c.cc.State().Closed }

// Close ends the connection with all its exchanges.
func (c *Conn) Close() error { return c.cc.Close() }

// Fail breaks the connection with RST; round trips under way fail with err.
func (c *Conn) Fail(err error) {
	c.cause.CompareAndSwap(nil, &err)
	sock.Reset(c.nc)
	_ = c.Close()
}

// RoundTrip sends r and returns the response's head. It honours
// wire.RoundTripper's contract, for one connection. r.Body may be read after
// RoundTrip has returned, until the response's body is at its end or closed.
// The :authority is the Host field where there is one, else r.Host.
func (c *Conn) RoundTrip(ctx context.Context, r *wire.Request) (*wire.Response, error) {
	if r.Method == http.MethodConnect {
		return nil, &wire.UpstreamError{Op: "protocol", Addr: c.addr, Err: errors.New("CONNECT over HTTP/2 is not supported")}
	}
	x := &clientExchange{conn: c, r: r}
	x.trace.Reused = c.used.Swap(true)
	x.trace.RemoteNet = c.nc.RemoteAddr()
	req := x.request(ctx)

	var res *http.Response
	var err error
	if r.Inform == nil {
		res, err = c.cc.RoundTrip(req)
	} else {
		res, err = x.roundTripInformed(req)
	}
	if err != nil {
		return nil, x.failure(ctx, err)
	}
	return x.response(res), nil
}

// clientExchange is one exchange on a Conn.
type clientExchange struct {
	conn *Conn
	r    *wire.Request
	body *upload // nil for none

	interim chan interim // nil where nobody wants interim responses

	mu        sync.Mutex
	trace     wire.Trace
	wroteHead bool
	informed  bool // an interim response came: FirstAt is the final one's
}

type interim struct {
	status int
	header fixtures.Header
}

// request maps r to the client's own type.
func (x *clientExchange) request(ctx context.Context) *http.Request {
	r := x.r
	host := r.Host
	if h := r.Header.Get("host"); h != "" {
		host = h
	}
	u := &url.URL{Scheme: r.Scheme, Host: host, Opaque: r.Target}
	if len(r.Target) > 1 && r.Target[:2] == "//" {
		// url.URL takes a leading "//" for an authority; the client cuts
		// scheme and host off again.
		u.Opaque = "//" + host + r.Target
	}
	req := &http.Request{
		Method: r.Method, URL: u, Host: host,
		Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: toMap(r.Header),
	}
	if _, ok := req.Header["user-agent"]; !ok {
		req.Header["user-agent"] = nil // keeps the client from sending its own
	}
	if r.Body != nil && r.Length != 0 {
		x.body = &upload{r: r, req: req}
		req.Body = x.body
		req.ContentLength = r.Length
		if r.Trailer != nil {
			// Filled at the body's end; what the Trailer field announces
			// stands among the fields.
			req.Trailer = http.Header{}
		}
	}
	return req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders:         x.onWroteHead,
		WroteRequest:         x.onWroteRequest,
		GotFirstResponseByte: x.onFirstByte,
		Got1xxResponse:       x.on1xx,
	}))
}

func (x *clientExchange) onWroteHead() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wroteHead = true
}

func (x *clientExchange) onWroteRequest(i httptrace.WroteRequestInfo) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if i.Err == nil {
		x.trace.SentAt = time.Now()
	}
}

func (x *clientExchange) onFirstByte() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.trace.FirstAt = time.Now()
}

// on1xx runs on the connection's reading goroutine and must not wait.
func (x *clientExchange) on1xx(status int, h textproto.MIMEHeader) error {
	x.mu.Lock()
	x.informed = true
	x.mu.Unlock()
	if x.interim == nil || status == 100 {
		return nil
	}
	select {
	case x.interim <- interim{status, fromMap(http.Header(h))}:
		return nil
	default:
		return errors.New("too many interim responses at once")
	}
}

// roundTripInformed calls Inform from the caller's goroutine while the client's
// RoundTrip waits on another, which ends before this returns.
func (x *clientExchange) roundTripInformed(req *http.Request) (res *http.Response, err error) {
	x.interim = make(chan interim, 64)
	done := make(chan struct{})
	go func() { // owned by this call
		defer close(done)
		res, err = x.conn.cc.RoundTrip(req)
	}()
	for {
		select {
		case i := <-x.interim:
			x.r.Inform(i.status, i.header)
			continue
		case <-done:
		}
		for { // those that came just before the head
			select {
			case i := <-x.interim:
				x.r.Inform(i.status, i.header)
			default:
				return res, err
			}
		}
	}
}

// response maps what came back.
func (x *clientExchange) response(res *http.Response) *wire.Response {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.informed || x.trace.FirstAt.IsZero() {
		x.trace.FirstAt = time.Now()
	}
	if x.body == nil && (x.trace.SentAt.IsZero() || x.trace.SentAt.After(x.trace.FirstAt)) {
		x.trace.SentAt = x.trace.FirstAt // the note of it lost a race against the answer
	}
	out := &wire.Response{
		Proto:  "HTTP/2.0",
		Status: res.StatusCode,
		Header: fromMap(res.Header),
		Length: res.ContentLength,
		Trace:  x.trace,
	}
	announce(&out.Header, res.Trailer)
	if x.r.Method == http.MethodHead || res.StatusCode == 204 || res.StatusCode == 304 {
		out.Length = 0
	}
	out.Body = &download{x: x, body: res.Body}
	out.Trailer = func() fixtures.Header { return fromMap(res.Trailer) }
	return out
}

// failure names the step that failed.
func (x *clientExchange) failure(ctx context.Context, err error) error {
	x.mu.Lock()
	wrote := x.wroteHead
	silent := x.trace.FirstAt.IsZero() && !x.informed
	x.mu.Unlock()
	op := "read"
	var se xhttp2.StreamError
	var ga xhttp2.GoAwayError
	if cause := x.conn.cause.Load(); cause != nil {
		err = *cause
	}
	// Where ctx has ended the body may still be read.
	whole := ctx.Err() == nil && (x.body == nil || x.body.whole())
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
		if !wrote {
			op = "write"
		}
	case errors.As(err, &se):
		op = "protocol"
		if whole && se.Code == xhttp2.ErrCodeRefusedStream {
			err = refused{err}
		}
	case errors.As(err, &ga):
		op = "protocol"
		if whole && silent && x.trace.Reused {
			err = lost{err}
		}
	case !wrote:
		op = "write"
		err = unserved{err} // a body is read only behind its head
	case whole && err.Error() == goneText:
		err = refused{err}
	case whole && silent && x.trace.Reused:
		err = lost{err}
	}
	return &wire.UpstreamError{Op: op, Addr: x.conn.addr, Err: err}
}

// goneText is the client's error for a stream above a GOAWAY's last, which it
// does not export.
const goneText = "http2: Transport received Server's graceful shutdown GOAWAY"

// unserved adds ErrUnserved to an error's chain.
type unserved struct{ error }

func (u unserved) Unwrap() error        { return u.error }
func (u unserved) Is(target error) bool { return target == ErrUnserved }

// refused adds ErrRefused to an error's chain, and ErrUnserved with it.
type refused struct{ error }

func (r refused) Unwrap() error        { return r.error }
func (r refused) Is(target error) bool { return target == ErrRefused || target == ErrUnserved }

// lost adds ErrLost to an error's chain.
type lost struct{ error }

func (l lost) Unwrap() error        { return l.error }
func (l lost) Is(target error) bool { return target == ErrLost }

// upload is a request's body as the client reads it.
type upload struct {
	r     *wire.Request
	req   *http.Request
	taken atomic.Bool // Read was called
	done  atomic.Bool // Read gave an error, io.EOF among them
}

// whole reports whether a next try would send all of the body. Nobody reads it any more.
func (u *upload) whole() bool {
	if !u.taken.Load() {
		return true
	}
	body, ok := u.r.Body.(interface{ Rewind() bool })
	return ok && body.Rewind()
}

func (u *upload) Read(p []byte) (int, error) {
	u.taken.Store(true)
	n, err := u.r.Body.Read(p)
	if err != nil {
		u.done.Store(true)
	}
	if err == io.EOF && u.r.Trailer != nil {
		for _, f := range u.r.Trailer() {
			u.req.Trailer[http.CanonicalHeaderKey(f.Name)] = append(u.req.Trailer[http.CanonicalHeaderKey(f.Name)], f.Value)
		}
	}
	return n, err
}

// Close does nothing: the body is its engine's.
func (u *upload) Close() error { return nil }

// download is a response's body.
type download struct {
	x    *clientExchange
	body io.ReadCloser
}

// Read returns what has arrived.
func (d *download) Read(p []byte) (int, error) {
	n, err := d.body.Read(p)
	if err != nil && err != io.EOF {
		if cause := d.x.conn.cause.Load(); cause != nil {
			err = *cause
		}
		err = &wire.UpstreamError{Op: "read", Addr: d.x.conn.addr, Err: err}
	}
	return n, err
}

// Close ends the exchange. The client's Close waits for the request's body,
// which may be waiting for its sender: that is not our caller's to wait for.
func (d *download) Close() error {
	if u := d.x.body; u != nil && !u.done.Load() {
		go func() { _ = d.body.Close() }() // ends with the request's body
		return nil
	}
	return d.body.Close()
}
