// Package wire is the seam between a protocol engine and the pipeline: what an
// engine reads from a client, how the pipeline answers through it, and what
// comes back from an upstream. It names these and does nothing.
//
// An engine (http1, http2, and whatever follows) knows its protocol and nothing
// of rules, recordings or replay; the pipeline knows those and no protocol.
package wire

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

// Conn is what is known of a client connection. It does not change while
// requests are served on it.
type Conn struct {
	ID     uint64
	Door   string               // the listener it came through, such as "forward http://127.0.0.1:8080"
	Client net.Addr             // the remote address
	From   string               // the remote address without its port
	Local  net.Addr             // the address it was accepted on
	TLS    *tls.ConnectionState // nil on cleartext
	// Host is the authority that a CONNECT or the TLS server name bound the
	// connection to; "" where each request brings its own.
	Host string
	// Transparent is set where the client knows nothing of us: it must not hear
	// from us what only a proxy would say.
	Transparent bool
	At          time.Time // when it was accepted
	// Exact asks that the times of later requests on the connection are those at
	// which their bytes came in, not those at which they were read. It may be
	// called often. nil where that cannot be had.
	Exact func()
}

// Request is a request as an engine read it from a client, or as the pipeline
// wants it sent upstream.
type Request struct {
	Proto  string // "HTTP/1.0", "HTTP/1.1" or "HTTP/2.0"
	Method string
	// Scheme, Host and Target are split apart whatever the form on the wire:
	// origin form leaves Scheme "" for the pipeline to fill from the door;
	// absolute form (Absolute is set) fills all three; CONNECT has its
	// authority in Host and in Target; asterisk form is Target "*".
	// Host is the authority as sent (the Host field or :authority).
	Scheme   string
	Host     string
	Target   string
	Absolute bool
	// Header holds the fields as sent and in their order, Host, Content-Length
	// and Transfer-Encoding included where they were sent; no pseudo-fields.
	Header fixtures.Header

	// Body is nil when the request has none. Read returns what has arrived,
	// at most one transfer chunk or DATA frame's worth a call where the buffer
	// allows. An engine sends 100 (Continue) by itself at the first Read of a body
	// that was announced with Expect, unless a final head was written first.
	Body    io.Reader
	Length  int64 // bytes of the body where it was declared, 0 for none, -1 where it is unknown
	Chunked bool  // sent with chunked transfer coding
	// Trailer returns the trailer fields; meaningful after Body gave io.EOF.
	// nil where there can be none.
	Trailer func() fixtures.Header

	// At is, monotonic, when the request's first byte was read, or came in: see
	// Conn.Exact; on a request sent upstream, when it was handed over.
	At time.Time
	// Waited is how long from then on the rest of the head was waited for; 0 where it came
	// whole.
	Waited time.Duration

	// Addr is where to connect, host:port, and ServerName whom to ask for and to
	// verify in TLS, where these are not Host's: in a tunnel whose requests name
	// another host than the tunnel. "" otherwise. Set on requests sent upstream.
	Addr, ServerName string

	// Inform, where set on a request sent upstream, is called for each interim
	// response except 100 and 101, in order, from the goroutine of RoundTrip.
	Inform func(status int, h fixtures.Header)
}

// Handler serves one request. When it returns without having called Finish or
// Break on w, the engine breaks the exchange off like Break(Abort). Neither r, nor
// the array of r.Header, nor w may be used after it has returned, but by who still
// reads r's body; strings may be kept.
// ctx ends when the server shuts down for good or the handler returns, and when
// an engine notices that the client went away.
type Handler interface {
	ServeWire(ctx context.Context, w ResponseWriter, r *Request)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, w ResponseWriter, r *Request)

// ServeWire calls f.
func (f HandlerFunc) ServeWire(ctx context.Context, w ResponseWriter, r *Request) { f(ctx, w, r) }

// Head is the head of a final response.
type Head struct {
	Status int
	Reason string // HTTP/1 only; "" sends none where Exact is set, the standard phrase otherwise
	Header fixtures.Header
	// Length is the number of body bytes that will follow, -1 when it is not
	// known yet. For an answer to HEAD, and for 204 and 304, no body follows
	// whatever the fields say, and Length is ignored.
	Length int64
	// Chunked asks HTTP/1.1 for chunked coding even when Length is known.
	Chunked bool
	// Exact sends the reason phrase as it is, an empty one included.
	Exact bool
}

// ResponseWriter answers one request. Its methods are called from one
// goroutine at a time. All but Watch return an error once the client's
// connection is broken.
//
// The engine owns framing: it takes connection-level fields (Connection,
// Keep-Alive, Proxy-Connection, Transfer-Encoding, Upgrade outside of 101) out of Head.Header, or
// keeps them in place where they agree with what it does; Content-Length
// is written where it stands in Header if it agrees with Length, and added when
// Length is known and the field is missing (not for HEAD, 1xx, 204, 304, where
// what stands in Header is sent as it is).
type ResponseWriter interface {
	// Inform writes an interim response (100..199 without 101) and flushes it.
	// For HTTP/1.0 clients it does nothing.
	Inform(status int, h fixtures.Header) error
	// WriteHead buffers the final head. It is called once, before Write. What h holds
	// stays as it is until the answer has ended.
	WriteHead(h *Head) error
	// Write buffers body bytes, as one transfer chunk (h1 chunked) or as DATA
	// frames (h2). It may flush when its buffer is full. Bytes of an answer that can
	// have no body (HEAD, 204, 304) are dropped, and no error.
	Write(p []byte) (int, error)
	// Flush sends what is buffered.
	Flush() error
	// Finish ends the response, with trailer fields where the protocol can
	// carry them, and flushes. Fewer body bytes than Head.Length break the
	// connection and return an error.
	Finish(trailer fixtures.Header) error
	// Break ends the exchange by force; see Break. What is buffered is flushed
	// first, except for Reset on HTTP/1. There, Reset is allowed after Finish, too.
	Break(b Break) error
	// Watch looks out for the client's leaving from here on, which ends the
	// request's context. It is cheap: an engine may look only after some
	// milliseconds. Must not be called while the request's body is being read;
	// reading it ends the watch, which a further call starts again. It may be called
	// from any goroutine.
	Watch()
	// Hijack hands over the connection for good, with what was read of it
	// beyond this request coming first from its Read: after it, only the
	// caller writes, reads and closes. h2: errors.ErrUnsupported.
	Hijack() (net.Conn, error)
}

// Punctual is a ResponseWriter that can have an answer go out at a moment which others
// keep, without being woken for it.
type Punctual interface {
	ResponseWriter
	// FinishBy is Write of part and Finish, where all that was not sent yet goes out
	// with one write: keep is called once, and calls post, at most once, when it is to
	// be made, from any goroutine; post never waits. Where keep returns an error it has
	// not called post: nothing is sent then, and the exchange may still be broken off.
	// False says that the answer cannot go out so, and that nothing was done.
	FinishBy(part []byte, trailer fixtures.Header, keep func(post func()) error) (taken bool, err error)
}

// BreakKind is a way to end an exchange by force.
type BreakKind uint8

const (
	Abort  BreakKind = iota // end it so that the client sees a broken answer: h1 close, h2 RST_STREAM INTERNAL_ERROR
	Reset                   // h1: RST to the client (SO_LINGER 0; under TLS without close_notify). h2: RST_STREAM with Code
	Close                   // h1 and h2: flush, then FIN: the connection is closed (h2: without GOAWAY)
	GoAway                  // h2: GOAWAY with Code and this stream as last, the stream reset, the connection closed once others are done. h1: Close
	Raw                     // h1: write Bytes as they are, then close. h2: write Bytes as they are to the connection between two frames, then close
)

// Break says how to end an exchange by force.
type Break struct {
	Kind  BreakKind
	Code  uint32 // HTTP/2 error code (RFC 9113, 7)
	Bytes []byte // for Raw
}

// Response is a final response from an upstream.
type Response struct {
	Proto  string
	Status int
	Reason string // as sent; "" for none
	Header fixtures.Header
	// Body is never nil. Read returns what has arrived; Close gives the connection
	// back or ends it. It may have a method Arrived() bool, which reports whether
	// some of it can be read without waiting; one ReadHere(room func(n int) []byte)
	// (part []byte, err error), which reads as Read does, into a buffer of at least n
	// bytes that it asks for, but only what is there whole, and never waits; and one
	// Release(), which may be called once after Close: it gives the Response and the
	// array of Header back to be used again, and neither may be touched from then on.
	Body    io.ReadCloser
	Length  int64 // 0 for none, -1 where it is unknown
	Chunked bool
	Trailer func() fixtures.Header // nil where there can be none; meaningful after Body gave io.EOF

	// Switched is the connection after a 101, owned by the caller; else nil.
	Switched net.Conn

	Trace Trace
}

// Trace is when things happened on the upstream side. Instants are monotonic;
// lengths are 0 on a reused connection.
type Trace struct {
	Connect   time.Duration // dialling, name look-up included
	TLS       time.Duration // handshake
	Reused    bool          // the connection had served before
	SentAt    time.Time     // the request's last byte was written; zero where the response came first
	FirstAt   time.Time     // the first byte of the final response's head was read
	RemoteNet net.Addr      // whom we reached
}

// RoundTripper sends a request upstream and returns the response's head as
// soon as it is there. It does not follow redirects, decode bodies, or add
// fields beyond what framing needs. ctx bounds the whole exchange, the body
// included. Errors are *UpstreamError.
type RoundTripper interface {
	RoundTrip(ctx context.Context, r *Request) (*Response, error)
}

// UpstreamError is why no response came from an upstream.
type UpstreamError struct {
	Op   string // "resolve", "dial", "tls", "write", "read", "protocol"
	Addr string // host:port
	Err  error
}

// Error gives operation, subject and cause.
func (e *UpstreamError) Error() string {
	cause := e.Err
	// The net package says operation and address once more.
	if op, ok := cause.(*net.OpError); ok && op.Err != nil {
		cause = op.Err
	}
	return e.Op + " " + e.Addr + ": " + cause.Error()
}

// Unwrap returns the cause.
func (e *UpstreamError) Unwrap() error { return e.Err }
