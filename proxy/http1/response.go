package http1

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// response answers one request; it implements wire.ResponseWriter.
type response struct {
	c  *serverConn
	in *requestInfo

	mu        sync.Mutex // the body's first Read may write 100 (Continue) beside the handler
	headDone  bool
	continued bool // 100 was sent, or needs no sending any more
	ended     bool // Finish, Break or Hijack was called
	finished  bool // it was Finish, and all was well
	closing   bool // the connection ends with this exchange
	head      *wire.Head
	f         answerFraming
	left      int64 // bytes that a sized body still lacks
}

func (w *response) Inform(status int, h fixtures.Header) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended:
		return errEnded
	case w.headDone:
		return errHeadTwice
	case status < 100 || status > 199 || status == 101:
		return fmt.Errorf("write interim response: status %d is none", status)
	case w.in.old:
		return nil
	}
	if status == 100 {
		w.continued = true
	}
	return w.inform(status, h)
}

func (w *response) inform(status int, h fixtures.Header) error {
	out := &w.c.out
	out.take()
	b, err := appendStatusLine(out.buf, status, "", false)
	if err == nil {
		b, err = appendFields(b, h)
	}
	if err != nil {
		return err
	}
	out.buf = append(b, "\r\n"...)
	return w.note(out.flush())
}

// proceed sends 100 (Continue) where the client still waits for it.
func (w *response) proceed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.continued || w.headDone || w.ended {
		return
	}
	w.continued = true
	_ = w.inform(100, nil) // a client that left shows in the body's read
}

// note passes a write's error on; a failure means that the client left.
func (w *response) note(err error) error {
	if err != nil {
		w.closing = true
		w.c.watch.leave()
	}
	return err
}

func (w *response) WriteHead(h *wire.Head) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended:
		return errEnded
	case w.headDone:
		return errHeadTwice
	}
	// A client that waits for 100 may or may not send its body after a final
	// answer: the next request's start could not be told.
	unsent := w.in.expect && !w.continued
	f := frameAnswer(h, w.in, w.c.isDraining() || unsent)
	// Not before: an answer that is held needs no buffer, and very many may be.
	out := &w.c.out
	out.take()
	b, err := appendAnswerHead(out.buf, h, f, w.in.old, w.c.srv.IdleTimeout)
	if err != nil {
		return err
	}
	out.buf, out.head = b, len(b)
	w.headDone, w.head, w.f, w.left = true, h, f, f.length
	w.closing = w.closing || f.close || f.tunnel
	return out.err
}

// renew makes the head anew where it has not gone out and says that the connection is
// kept, which it no longer is: held answers are made ready before their moment.
func (w *response) renew() {
	out := &w.c.out
	if out.head == 0 || w.closing || !w.c.isDraining() {
		return
	}
	f, rest := w.f, bytes.Clone(out.buf[out.head:])
	f.close, f.keep10 = true, false
	b, err := appendAnswerHead(out.buf[:0], w.head, f, w.in.old, w.c.srv.IdleTimeout)
	if err != nil {
		return // it was none before
	}
	out.buf, out.head = append(b, rest...), len(b)
	w.f, w.closing = f, true
}

func (w *response) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended:
		return 0, errEnded
	case !w.headDone:
		return 0, errNoHead
	case len(p) == 0 || w.f.mode == noBody:
		return len(p), nil
	}
	w.renew()
	out := &w.c.out
	switch w.f.mode {
	case sized:
		if int64(len(p)) > w.left {
			return 0, errTooLong
		}
		w.left -= int64(len(p))
		return w.wrote(p, out.add(p, ""))
	case chunked:
		return w.wrote(p, out.addChunk(p))
	}
	return w.wrote(p, out.add(p, ""))
}

func (w *response) wrote(p []byte, err error) (int, error) {
	if err != nil {
		return 0, w.note(err)
	}
	return len(p), nil
}

func (w *response) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return errEnded
	}
	w.renew()
	return w.note(w.c.out.flush())
}

func (w *response) Finish(trailer fixtures.Header) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended:
		return errEnded
	case !w.headDone:
		_ = w.breakOff(wire.Break{Kind: wire.Abort})
		return errNoHead
	case w.f.mode == sized && w.left > 0:
		_ = w.breakOff(wire.Break{Kind: wire.Abort})
		return fmt.Errorf("write response: %d bytes of the body are missing: %w", w.left, io.ErrUnexpectedEOF)
	case w.f.mode == chunked:
		if err := w.c.out.addEnd(trailer); err != nil {
			_ = w.breakOff(wire.Break{Kind: wire.Abort})
			return err
		}
	}
	w.ended, w.finished = true, true
	w.renew()
	return w.note(w.c.out.flush())
}

// FinishBy implements wire.Punctual for answers that go out with one write.
func (w *response) FinishBy(part []byte, trailer fixtures.Header, keep func(post func()) error) (taken bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &w.c.out
	if w.ended || !w.headDone || out.err != nil || out.vector == nil || len(out.buf)+len(part)+chunkMost > outBytes {
		return false, nil
	}
	before := len(out.buf)
	switch {
	case w.f.mode == noBody:
	case w.f.mode == sized && w.left == int64(len(part)):
		out.buf = append(out.buf, part...)
	case w.f.mode == chunked:
		err := error(nil)
		if len(part) > 0 {
			err = out.addChunk(part)
		}
		if err == nil {
			err = out.addEnd(trailer)
		}
		if err != nil || len(out.buf) > outBytes {
			out.buf = out.buf[:before]
			return false, nil // Finish tells
		}
	default:
		return false, nil
	}
	// Whoever comes meanwhile is to find it ended; the request's body may still be read.
	w.ended = true
	w.mu.Unlock()
	w.c.held = w
	kept, err := out.flushBy(keep, w.c.post)
	w.mu.Lock()
	if !kept {
		w.ended, w.headDone = false, false
		return true, err
	}
	w.finished = true
	return true, w.note(err)
}

func (w *response) Break(b wire.Break) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.finished && b.Kind == wire.Reset:
		w.closing = true
		w.c.reset()
		return nil
	case w.ended:
		return errEnded
	}
	return w.breakOff(b)
}

// breakOff ends exchange and connection by force.
func (w *response) breakOff(b wire.Break) error {
	w.ended, w.closing = true, true
	out := &w.c.out
	if b.Kind == wire.Reset {
		out.reset()
		w.c.reset()
		return out.err
	}
	if b.Kind == wire.Raw {
		out.take()
		_ = out.add(b.Bytes, "") // kept in out.err
	}
	err := w.note(out.flush())
	if b.Kind == wire.Abort && w.headDone && w.f.mode == untilClose {
		// A plain close would be this body's proper end.
		w.c.reset()
		return err
	}
	w.c.closeWrite()
	return err
}

func (w *response) Watch() { w.c.watch.start() }

// Hijack gives away the connection. Where nothing was read beyond the request,
// it is the very net.Conn that ServeConn was given, so that copies can splice.
func (w *response) Hijack() (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return nil, errEnded
	}
	if w.c.out.within { // only who hijacks unasked comes here: see quick
		return nil, errNotSwitched
	}
	w.c.watch.retire()
	if err := w.note(w.c.out.flush()); err != nil {
		return nil, err
	}
	w.ended, w.closing = true, true
	return w.c.hijack(), nil
}
