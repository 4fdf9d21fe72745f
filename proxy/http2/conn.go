package http2

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/proxy/sock"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// conn is one client connection. The goroutine of ServeConn reads; handlers run
// on goroutines of their own; whoever has something to say appends it to out
// under mu, and one of them writes (see flush).
type conn struct {
	srv  *Server
	nc   net.Conn
	sock *sock.Conn // below nc; nil where there is none
	info *wire.Conn

	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	wg     sync.WaitGroup // handlers and flushers

	// Of the reading goroutine alone.
	br         *bufio.Reader
	fr         *xhttp2.Framer
	hdec       *hpack.Decoder
	fields     fieldReader
	maxList    uint32
	maxOpen    uint32
	resets     bucket
	small      bucket
	sawPreface bool

	mu       sync.Mutex
	drained  *sync.Cond // after each write, and when the connection fails
	out      []byte     // frames not yet given to a write
	spare    []byte     // reused: saves a buffer per write
	outGen   uint64     // counts buffers given to writes
	flushing bool       // a goroutine is in flush's loop
	werr     error      // a write failed
	err      error      // the connection is over
	orderly  bool       // it ended as it should

	henc *hpack.Encoder
	hbuf bytes.Buffer

	streams   map[uint32]*stream
	running   uint32 // handlers that have not returned
	lastID    uint32 // the highest stream the client opened
	buried    grave
	sendConn  int64  // what we may send
	sendInit  int64  // the same for a new stream
	recvConn  int64  // what the client may send
	recvOwed  int64  // read by handlers, not yet given back
	peerFrame uint32 // the largest frame that the client takes
	sentData  uint64 // DATA frames sent: each earns a small WINDOW_UPDATE

	draining   bool // GOAWAY was announced
	goAwaySent bool // GOAWAY with the last stream was sent

	idleTimer, drainTimer *time.Timer
	idleSince             time.Time
}

// readLoop handles frames until the connection ends.
func (c *conn) readLoop() error {
	first := true
	for {
		blocked := c.br.Buffered() == 0
		if blocked {
			// About to block: let out what the frames before called for.
			c.mu.Lock()
			c.flushSoon()
			c.mu.Unlock()
		}
		fh, err := c.fr.ReadFrameHeader()
		at := time.Now()
		if blocked && c.sock != nil {
			at = c.sock.Arrived()
		}
		if err == nil && first && (fh.Type != xhttp2.FrameSettings || fh.Flags.Has(xhttp2.FlagSettingsAck)) {
			return c.bad(xhttp2.ErrCodeProtocol, "the first frame is not SETTINGS")
		}
		var f xhttp2.Frame
		var waited time.Duration // for the rest of it
		switch {
		case err != nil:
		case c.br.Buffered() >= int(fh.Length):
			f, err = c.fr.ReadFrameForHeader(fh)
		default:
			since := timing.Instant()
			f, err = c.fr.ReadFrameForHeader(fh)
			waited = timing.Instant().Sub(since)
		}
		if err == nil {
			err = c.handle(f, at, waited)
		}
		if err != nil {
			if err = c.judge(err); err != nil {
				return err
			}
		}
		if first {
			first = false
			c.sawPreface = true
			c.mu.Lock()
			if c.err == nil {
				_ = c.nc.SetReadDeadline(time.Time{})
				c.armIdle()
			}
			c.mu.Unlock()
		}
	}
}

// judge turns what went wrong with a frame into what is to be done: nil to go
// on, else the error that ends the connection.
func (c *conn) judge(err error) error {
	var pe *ProtocolError
	var se xhttp2.StreamError
	var ce xhttp2.ConnectionError
	switch {
	case errors.As(err, &pe):
		if pe.Stream != 0 {
			c.report(pe)
			c.resetByID(pe.Stream, xhttp2.ErrCode(pe.Code))
			return nil
		}
		return c.bad(xhttp2.ErrCode(pe.Code), pe.Reason)
	case errors.As(err, &se):
		c.report(&ProtocolError{Stream: se.StreamID, Code: uint32(se.Code), Reason: "bad frame"})
		if !c.calm(time.Now()) {
			return c.bad(xhttp2.ErrCodeEnhanceYourCalm, "too many bad frames")
		}
		c.resetByID(se.StreamID, se.Code)
		return nil
	case errors.As(err, &ce):
		reason := "bad frame"
		if d := c.fr.ErrorDetail(); d != nil {
			reason = d.Error()
		}
		return c.bad(xhttp2.ErrCode(ce), reason)
	case errors.Is(err, xhttp2.ErrFrameTooLarge):
		return c.bad(xhttp2.ErrCodeFrameSize, "a frame larger than SETTINGS_MAX_FRAME_SIZE")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err // it was ended from our side, which woke the reading
	}
	if errors.Is(err, io.EOF) && len(c.streams) > 0 {
		return fmt.Errorf("read: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("read: %w", err)
}

// calm draws on the budget for frames that carry nothing.
func (c *conn) calm(now time.Time) bool { return c.small.take(now, smallBurst, smallPerSecond) }

// handle takes one frame, which began at at and whose rest was waited for.
func (c *conn) handle(f xhttp2.Frame, at time.Time, waited time.Duration) error {
	switch f := f.(type) {
	case *xhttp2.HeadersFrame:
		return c.onHeaders(f, at, waited)
	case *xhttp2.DataFrame:
		return c.onData(f, at)
	case *xhttp2.WindowUpdateFrame:
		return c.onWindowUpdate(f, at)
	case *xhttp2.RSTStreamFrame:
		return c.onReset(f, at)
	case *xhttp2.PushPromiseFrame:
		return &ProtocolError{Code: uint32(xhttp2.ErrCodeProtocol), Reason: "PUSH_PROMISE from a client"}
	case *xhttp2.ContinuationFrame:
		return &ProtocolError{Code: uint32(xhttp2.ErrCodeProtocol), Reason: "CONTINUATION without HEADERS"}
	}
	if !c.calm(at) {
		return &ProtocolError{Code: uint32(xhttp2.ErrCodeEnhanceYourCalm), Reason: "too many frames without content"}
	}
	switch f := f.(type) {
	case *xhttp2.SettingsFrame:
		return c.onSettings(f)
	case *xhttp2.PingFrame:
		return c.onPing(f)
	}
	// PRIORITY is deprecated (RFC 9113, 5.3.2); a client's GOAWAY concerns
	// pushes, and there are none; unknown types are to be ignored (5.5).
	return nil
}

// resetByID resets a stream that may not be open (any more).
func (c *conn) resetByID(id uint32, code xhttp2.ErrCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	if id > c.lastID {
		c.lastID = id
	}
	c.out = appendReset(c.out, id, code)
	c.buried.add(id)
	if st := c.streams[id]; st != nil {
		c.closeStream(st, errMalformed)
	}
}
