package http2

import (
	"context"
	"strings"
	"sync"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// onHeaders collects a field block, decodes it (always: the compression state
// is the connection's), and opens a stream or ends one with trailers.
func (c *conn) onHeaders(f *xhttp2.HeadersFrame, at time.Time, waited time.Duration) error {
	id, endStream := f.StreamID, f.StreamEnded()
	c.fields.reset(c.maxList)
	c.hdec.SetEmitFunc(c.fields.add)
	block := f.HeaderBlockFragment()
	ended := f.HeadersEnded()
	for read := 0; ; {
		if read += len(block) + frameHeaderLen; read > 2*int(c.maxList) {
			return &ProtocolError{Code: uint32(xhttp2.ErrCodeEnhanceYourCalm), Reason: "field section too large"}
		}
		if _, err := c.hdec.Write(block); err != nil {
			return &ProtocolError{Code: uint32(xhttp2.ErrCodeCompression), Reason: err.Error()}
		}
		if ended {
			break
		}
		since := timing.Instant()
		next, err := c.fr.ReadFrame()
		if err != nil {
			return err
		}
		waited += timing.Instant().Sub(since)
		cf, ok := next.(*xhttp2.ContinuationFrame)
		if !ok {
			return &ProtocolError{Code: uint32(xhttp2.ErrCodeProtocol), Reason: "want CONTINUATION"}
		}
		if block, ended = cf.HeaderBlockFragment(), cf.HeadersEnded(); len(block) == 0 && !ended && !c.calm(at) {
			return &ProtocolError{Code: uint32(xhttp2.ErrCodeEnhanceYourCalm), Reason: "too many empty CONTINUATION frames"}
		}
	}
	if err := c.hdec.Close(); err != nil {
		return &ProtocolError{Code: uint32(xhttp2.ErrCodeCompression), Reason: err.Error()}
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if id%2 == 0 {
		return &ProtocolError{Code: uint32(xhttp2.ErrCodeProtocol), Reason: "a client's stream has an odd id"}
	}
	if st := c.streams[id]; st != nil {
		return c.onTrailer(st, endStream)
	}
	if id <= c.lastID {
		if c.buried.has(id) {
			return nil
		}
		return &ProtocolError{Code: uint32(xhttp2.ErrCodeStreamClosed), Reason: "HEADERS on a closed stream"}
	}
	c.lastID = id
	if c.goAwaySent || c.err != nil {
		return nil // beyond the GOAWAY: the client knows that it was not served
	}
	r, err := c.fields.request()
	if err != nil {
		return &ProtocolError{Stream: id, Code: uint32(xhttp2.ErrCodeProtocol), Reason: err.Error()}
	}
	if endStream && r.Length > 0 {
		return &ProtocolError{Stream: id, Code: uint32(xhttp2.ErrCodeProtocol), Reason: "content-length without a body"}
	}
	if uint32(len(c.streams)) >= c.maxOpen || c.running >= 2*c.maxOpen {
		return &ProtocolError{Stream: id, Code: uint32(xhttp2.ErrCodeRefusedStream), Reason: "too many open streams"}
	}
	r.At, r.Waited = at, waited
	c.open(id, r, endStream, c.fields.tooLarge)
	return nil
}

// onTrailer takes the field section behind a body. mu is held.
func (c *conn) onTrailer(st *stream, endStream bool) error {
	switch {
	case st.remoteDone:
		return &ProtocolError{Stream: st.id, Code: uint32(xhttp2.ErrCodeStreamClosed), Reason: "HEADERS behind the end of the stream"}
	case !endStream:
		return &ProtocolError{Stream: st.id, Code: uint32(xhttp2.ErrCodeProtocol), Reason: "trailers do not end the stream"}
	case st.declared >= 0 && st.got != st.declared:
		return &ProtocolError{Stream: st.id, Code: uint32(xhttp2.ErrCodeProtocol), Reason: "DATA does not agree with content-length"}
	}
	trailer, err := c.fields.trailer()
	if err != nil {
		return &ProtocolError{Stream: st.id, Code: uint32(xhttp2.ErrCodeProtocol), Reason: err.Error()}
	}
	st.trailer = trailer
	c.remoteEnd(st)
	st.wake.Broadcast()
	return nil
}

// open starts a stream and its handler. mu is held.
func (c *conn) open(id uint32, r *wire.Request, endStream, tooLarge bool) {
	st := &stream{c: c, id: id, method: r.Method, sendWindow: c.sendInit, recvWindow: streamWindow, declared: r.Length}
	st.wake = sync.NewCond(&c.mu)
	st.ctx, st.cancel = context.WithCancel(c.ctx)
	c.streams[id] = st
	c.running++
	if endStream {
		st.remoteDone = true
		r.Length = 0
	} else {
		st.expect = strings.EqualFold(r.Header.Get("expect"), "100-continue")
		r.Body = (*bodyReader)(st)
		r.Trailer = st.readTrailer
	}
	h := c.srv.Handler
	if tooLarge {
		h = wire.HandlerFunc(refuseLarge)
	}
	c.wg.Go(func() {
		w := &writer{st: st}
		h.ServeWire(st.ctx, w, r)
		w.done()
	})
}

// refuseLarge answers a request whose field section was over the limit.
func refuseLarge(_ context.Context, w wire.ResponseWriter, _ *wire.Request) {
	if w.WriteHead(&wire.Head{Status: 431}) == nil {
		_ = w.Finish(nil)
	}
}
