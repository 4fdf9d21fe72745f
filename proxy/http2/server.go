package http2

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/understudy-proxy/understudy/proxy/sock"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// Limits and defaults. Windows are generous: a proxy that throttles uploads by
// its own windows would distort what it measures.
const (
	defaultMaxStreams     = 250
	defaultMaxHeaderList  = 1 << 20
	defaultPrefaceTimeout = 10 * time.Second

	streamWindow = 1 << 20 // bytes a client may send on a stream before we read them
	connWindow   = 8 << 20 // bytes a client may send on a connection before we read them

	initialWindow    = 65535 // RFC 9113, 6.9.2
	initialFrameSize = 16384 // RFC 9113, 6.5.2
	maxWindow        = 1<<31 - 1
	maxStreamID      = 1<<31 - 1

	// lingerTime bounds the wait for the client's FIN after ours, so that the
	// kernel does not answer unread bytes with an RST that overtakes a GOAWAY.
	lingerTime = 500 * time.Millisecond
	// drainGrace bounds the wait for the PING that tells that a client has seen
	// the first GOAWAY of a graceful end.
	drainGrace = time.Second
)

// Server is the HTTP/2 engine. Its fields are set before the first ServeConn
// and not changed afterwards.
type Server struct {
	// Handler answers the requests, each on a goroutine of its own.
	Handler wire.Handler
	// MaxConcurrentStreams is how many requests a client may have open on a
	// connection; 0 means 250. What is beyond gets REFUSED_STREAM.
	MaxConcurrentStreams uint32
	// MaxHeaderListSize bounds a field section in bytes, counted as RFC 9113,
	// 6.5.2 does; 0 means 1 MiB. A request beyond it is answered 431.
	MaxHeaderListSize uint32
	// IdleTimeout ends a connection without open streams; 0 means never.
	IdleTimeout time.Duration
	// PrefaceTimeout bounds the wait for the client's preface; 0 means 10 s.
	PrefaceTimeout time.Duration
	// OnBad, if set, is told of what a client did wrong: malformed requests
	// (the connection goes on) and protocol errors (it does not). It is called
	// from the connection's reading goroutine and must not block.
	OnBad func(c *wire.Conn, err error)
}

// ServeConn serves HTTP/2 on nc, whose client preface is still unread, until
// the client leaves, a protocol error ends the connection, or ctx ends. At the
// end of ctx the client is told (GOAWAY, NO_ERROR) and open streams are
// finished; to break them off, close nc. ServeConn owns nc: it is closed when
// ServeConn returns, and by then all handlers have returned.
//
// It returns nil when the connection ended in order (client closed between
// requests, idle, drained, broken on purpose by a handler).
func (s *Server) ServeConn(ctx context.Context, nc net.Conn, info *wire.Conn) error {
	c := &conn{
		srv:       s,
		nc:        nc,
		sock:      sock.Of(nc),
		info:      info,
		br:        bufio.NewReaderSize(nc, 16<<10),
		streams:   map[uint32]*stream{},
		sendConn:  initialWindow,
		sendInit:  initialWindow,
		recvConn:  connWindow,
		peerFrame: initialFrameSize,
		maxList:   s.MaxHeaderListSize,
		maxOpen:   s.MaxConcurrentStreams,
	}
	if c.maxList == 0 {
		c.maxList = defaultMaxHeaderList
	}
	if c.maxOpen == 0 {
		c.maxOpen = defaultMaxStreams
	}
	c.drained = sync.NewCond(&c.mu)
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer c.cancel()

	stop := context.AfterFunc(ctx, c.drain)
	err := c.serve()
	stop()

	c.mu.Lock()
	c.fail(err)
	if c.idleTimer != nil {
		c.idleTimer.Stop()
	}
	if c.drainTimer != nil {
		c.drainTimer.Stop()
	}
	flushed := c.werr == nil
	c.mu.Unlock()
	if flushed && !errors.Is(err, io.EOF) {
		c.linger()
	}
	_ = nc.Close() // unblocks whoever still writes
	c.wg.Wait()

	c.mu.Lock()
	defer c.mu.Unlock()
	return c.verdict(err)
}

// verdict is what ServeConn returns for the error that ended the reading.
func (c *conn) verdict(err error) error {
	if c.orderly || errors.Is(err, io.EOF) && c.sawPreface {
		return nil
	}
	return fmt.Errorf("serve http/2 to %s: %w", c.nc.RemoteAddr(), err)
}

// serve reads until the connection ends; the error is never nil.
func (c *conn) serve() error {
	timeout := c.srv.PrefaceTimeout
	if timeout == 0 {
		timeout = defaultPrefaceTimeout
	}
	if err := c.nc.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	c.mu.Lock()
	c.henc = hpack.NewEncoder(&c.hbuf)
	c.out = appendSettings(c.out,
		xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: c.maxOpen},
		xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: streamWindow},
		xhttp2.Setting{ID: xhttp2.SettingMaxHeaderListSize, Val: c.maxList})
	c.out = appendWindowUpdate(c.out, 0, connWindow-initialWindow)
	c.flushSoon()
	c.mu.Unlock()

	preface := make([]byte, len(xhttp2.ClientPreface))
	if _, err := io.ReadFull(c.br, preface); err != nil {
		return fmt.Errorf("read client preface: %w", err)
	}
	if string(preface) != xhttp2.ClientPreface {
		return c.bad(xhttp2.ErrCodeProtocol, "bad client preface")
	}
	c.fr = xhttp2.NewFramer(io.Discard, c.br)
	c.fr.SetReuseFrames()
	c.fr.SetMaxReadFrameSize(initialFrameSize)
	c.hdec = hpack.NewDecoder(4096, nil)
	c.hdec.SetMaxStringLength(int(min(c.maxList, 1<<24)))
	return c.readLoop()
}

// linger ends our side and waits for the client to end its own, briefly.
func (c *conn) linger() {
	cw, ok := c.nc.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	// The deadline covers TLS's close_notify, too.
	_ = c.nc.SetDeadline(time.Now().Add(lingerTime))
	if cw.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c.nc, 16<<20)
	}
}

// drain begins a graceful end: a GOAWAY that promises to serve all streams,
// and, once the client has seen that, one that names the last.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.draining {
		return
	}
	c.draining = true
	c.out = appendGoAway(c.out, maxStreamID, xhttp2.ErrCodeNo, "")
	c.out = appendPing(c.out, false, drainPing)
	c.drainTimer = time.AfterFunc(drainGrace, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drainSeen()
	})
	c.flushSoon()
}

// drainPing marks the PING behind the first GOAWAY.
var drainPing = [8]byte{'d', 'r', 'a', 'i', 'n', 'i', 'n', 'g'}

// drainSeen sends the final GOAWAY. mu is held.
func (c *conn) drainSeen() {
	if c.err != nil || !c.draining || c.goAwaySent {
		return
	}
	c.goAwaySent = true
	c.out = appendGoAway(c.out, c.lastID, xhttp2.ErrCodeNo, "")
	c.flushSoon()
	c.endIfDone()
}

// armIdle starts the idle clock. mu is held.
func (c *conn) armIdle() {
	d := c.srv.IdleTimeout
	if d <= 0 {
		return
	}
	c.idleSince = time.Now()
	// One timer per connection that looks and re-arms: none per request.
	c.idleTimer = time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch left := d - time.Since(c.idleSince); {
		case c.err != nil:
		case len(c.streams) > 0:
			c.idleTimer.Reset(d)
		case left > 0:
			c.idleTimer.Reset(left)
		default:
			c.goAwaySent = true
			c.out = appendGoAway(c.out, c.lastID, xhttp2.ErrCodeNo, "idle")
			c.endIfDone()
		}
	})
}
