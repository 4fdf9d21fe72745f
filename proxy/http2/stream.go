package http2

import (
	"context"
	"io"
	"sync"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/understudy-proxy/understudy/fixtures"
)

// stream is one exchange. All but the constants are guarded by conn.mu.
type stream struct {
	c      *conn
	id     uint32
	method string
	ctx    context.Context // ends when the client leaves or the handler returns
	cancel context.CancelFunc
	wake   *sync.Cond // a window opened, a body grew, the stream broke

	sendWindow int64
	recvWindow int64
	recvOwed   int64
	waiting    bool // for a window

	remoteDone bool // the client has sent all
	localDone  bool // we have
	unread     bool // the handler has returned: nobody is to read what still comes
	lost       bool // some of the body came and was not read
	closed     bool // it is out of conn.streams
	err        error

	declared int64 // content-length, -1 where there was none
	got      int64
	expect   bool // 100 (Continue) is awaited
	headSent bool
	body     chunks
	trailer  fixtures.Header
	stopping *time.Timer // runs where we have ended and the client has not
}

// patience is how long a client may go on sending after its answer has ended.
// Told at once to stop, clients whose last frames are under way take it for a
// failure and lose the answer (curl 7.88), though RFC 9113, 8.1 forbids that.
const patience = 250 * time.Millisecond

// leave tells the handler that nobody is there any more. mu is held.
func (st *stream) leave(err error) {
	if st.err != nil {
		return
	}
	st.err = err
	st.cancel()
	st.wake.Broadcast()
}

// closeStream takes st off the books. err is nil at its regular end. mu is held.
func (c *conn) closeStream(st *stream, err error) {
	if st.closed {
		return
	}
	st.closed = true
	delete(c.streams, st.id)
	if st.stopping != nil {
		st.stopping.Stop()
	}
	if err != nil {
		st.leave(err)
		c.giveBack(st.body.drop())
	}
	if len(c.streams) == 0 {
		if c.idleTimer != nil {
			c.idleSince = time.Now()
		}
		c.endIfDone()
	}
}

// remoteEnd notes that the client has sent all. mu is held.
func (c *conn) remoteEnd(st *stream) {
	st.remoteDone = true
	if st.localDone {
		c.closeStream(st, nil)
	}
}

// localEnd notes that we have sent all. A client still sending may end within
// patience, read for as long as the handler has not returned; then it is told to
// stop. mu is held.
func (c *conn) localEnd(st *stream) {
	st.localDone = true
	if st.remoteDone {
		c.closeStream(st, nil)
		return
	}
	st.stopping = time.AfterFunc(patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if st.closed || c.err != nil {
			return
		}
		c.out = appendReset(c.out, st.id, xhttp2.ErrCodeNo)
		c.buried.add(st.id)
		c.closeStream(st, nil)
		st.wake.Broadcast()
		c.flushSoon()
	})
}

// reset breaks the stream off. mu is held.
func (c *conn) reset(st *stream, code xhttp2.ErrCode) {
	if st.closed {
		return
	}
	c.out = appendReset(c.out, st.id, code)
	c.buried.add(st.id)
	c.closeStream(st, errAborted)
}

// giveBack lets the client send n more bytes on the stream. mu is held.
func (st *stream) giveBack(n int64) {
	if st.remoteDone || st.closed {
		return
	}
	if st.recvOwed += n; st.recvOwed >= streamWindow/4 {
		st.c.out = appendWindowUpdate(st.c.out, st.id, uint32(st.recvOwed))
		st.recvWindow += st.recvOwed
		st.recvOwed = 0
	}
}

// forget drops what of the body was not read, and what still comes of it. mu is held.
func (st *stream) forget() {
	st.unread = true
	if n := st.body.drop(); n > 0 {
		st.lost = true
		st.c.giveBack(n)
	}
	st.wake.Broadcast()
}

func (st *stream) readTrailer() fixtures.Header {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	return st.trailer
}

// bodyReader is a stream as its request's body. It may be read after its answer has
// ended, until the handler returns.
type bodyReader stream

// Buffered returns how many bytes Read can give without waiting.
func (b *bodyReader) Buffered() int {
	b.c.mu.Lock()
	defer b.c.mu.Unlock()
	return b.body.size
}

// Read returns at most one DATA frame's bytes.
func (b *bodyReader) Read(p []byte) (int, error) {
	st := (*stream)(b)
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.expect && !st.headSent && st.err == nil {
		st.expect = false
		if !st.remoteDone && st.body.empty() {
			c.writeFields(st.id, 100, nil, false)
			c.flush()
		}
	}
	for {
		switch {
		case st.err != nil:
			return 0, st.err
		case !st.body.empty():
			if len(p) == 0 {
				return 0, nil
			}
			n := st.body.pop(p)
			before := len(c.out)
			c.giveBack(int64(n))
			st.giveBack(int64(n))
			if len(c.out) > before {
				c.flush()
			}
			return n, nil
		case st.lost: // before the end, which is not that of what was read
			return 0, errEnded
		case st.remoteDone:
			return 0, io.EOF
		case st.closed, st.unread:
			return 0, errEnded
		}
		st.wake.Wait()
	}
}
