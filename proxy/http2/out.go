package http2

import (
	"errors"
	"time"

	xhttp2 "golang.org/x/net/http2"
)

const (
	outHigh  = 64 << 10  // buffered bytes at which handlers write before they add more
	outKeep  = 128 << 10 // the largest buffer kept for reuse
	outIdle  = 16 << 10  // the largest buffer kept by a connection without streams
	outFlood = 1 << 20   // control bytes buffered for a client that does not read
	// flushTurns is how many buffers one goroutine writes before it hands the
	// duty to another, so that no handler writes for its neighbours for ever.
	flushTurns = 16
)

// flush writes what is buffered, or leaves that to the goroutine that is
// writing already: frames added meanwhile go out together in its next write.
// mu is held, but not during the write.
func (c *conn) flush() {
	if c.flushing {
		return
	}
	c.flushing = true
	for turn := 0; len(c.out) > 0 && c.werr == nil; turn++ {
		if turn == flushTurns {
			c.wg.Go(c.flushRest)
			return
		}
		buf := c.out
		c.out, c.spare = c.spare[:0], nil
		c.outGen++
		c.mu.Unlock()
		_, err := c.nc.Write(buf)
		c.mu.Lock()
		if cap(buf) <= outKeep {
			c.spare = buf[:0]
		}
		if err != nil {
			c.werr = err
			c.fail(err)
		}
		c.drained.Broadcast()
	}
	c.flushing = false
	if len(c.streams) == 0 && cap(c.spare) > outIdle {
		c.spare = nil
	}
	c.drained.Broadcast()
}

// flushRest takes over the writing from a goroutine that has done its share.
func (c *conn) flushRest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushing = false
	c.flush()
}

// flushSoon has what is buffered written without waiting for it: the reading
// goroutine must never block on a client that does not read. mu is held.
func (c *conn) flushSoon() {
	if !c.flushing && len(c.out) > 0 && c.werr == nil {
		c.wg.Go(func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.flush()
		})
	}
}

// flushAll returns when everything buffered has been written, or cannot be.
// mu is held.
func (c *conn) flushAll() {
	c.flush()
	for (c.flushing || len(c.out) > 0) && c.werr == nil {
		c.drained.Wait()
		if !c.flushing {
			c.flush()
		}
	}
}

// makeRoom waits until less than outHigh bytes are buffered. mu is held.
func (c *conn) makeRoom() {
	for len(c.out) >= outHigh && c.werr == nil {
		if !c.flushing {
			c.flush()
			continue
		}
		c.drained.Wait()
	}
}

// fail marks the connection as over: no handler's call succeeds from here on.
// What is buffered is still written where it can be. mu is held.
func (c *conn) fail(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	for _, st := range c.streams {
		st.leave(errConnGone)
	}
	c.cancel()
	c.drained.Broadcast()
	// Ends the reading.
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
}

// endIfDone ends the connection once the last GOAWAY is out and no stream is
// left. mu is held.
func (c *conn) endIfDone() {
	if c.goAwaySent && len(c.streams) == 0 && c.err == nil {
		c.orderly = true
		if c.flushing || len(c.out) > 0 {
			c.wg.Go(func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.flushAll()
				c.fail(errDone)
			})
			return
		}
		c.fail(errDone)
	}
}

// bad reports a protocol error of the client and tells it.
func (c *conn) bad(code xhttp2.ErrCode, reason string) error {
	err := &ProtocolError{Code: uint32(code), Reason: reason}
	c.report(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return err
	}
	c.goAwaySent = true
	c.out = appendGoAway(c.out, c.lastID, code, reason)
	// A client that broke the rules gets lingerTime to read why.
	_ = c.nc.SetWriteDeadline(time.Now().Add(lingerTime))
	c.flushAll()
	return err
}

// report tells OnBad.
func (c *conn) report(err error) {
	if c.srv.OnBad != nil {
		c.srv.OnBad(c.info, err)
	}
}

// ProtocolError is what a client did wrong. Stream is 0 where it concerns the
// connection as a whole.
type ProtocolError struct {
	Stream uint32
	Code   uint32 // HTTP/2 error code (RFC 9113, 7), as it was sent to the client
	Reason string
}

// Error names the code and the reason.
func (e *ProtocolError) Error() string {
	return xhttp2.ErrCode(e.Code).String() + ": " + e.Reason
}

var (
	errConnGone  = errors.New("http/2 connection is gone")
	errDone      = errors.New("http/2 connection has ended")
	errReset     = errors.New("client reset the stream")
	errEnded     = errors.New("http/2 response has ended")
	errAborted   = errors.New("http/2 exchange was broken off")
	errTwoHeads  = errors.New("write head: a head was written already")
	errNoHead    = errors.New("write: no head was written")
	errMalformed = errors.New("client sent a malformed message")
)
