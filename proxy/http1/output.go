package http1

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/sock"
)

const (
	// outBytes is what is gathered into one write.
	outBytes = 16 << 10
	// vectorBytes is from where bytes are written from the caller's memory
	// instead of being copied together.
	vectorBytes = 4 << 10
	// chunkMost is what a chunk's size and line ends take at the most.
	chunkMost = 32
)

var outPool = sync.Pool{New: func() any { return new([outBytes]byte) }}

// output is the outgoing side of a connection. One goroutine uses it at a time.
type output struct {
	nc     net.Conn
	vector *sock.Conn // nc, where it can write pieces from where they are; else nil
	within bool       // this is called by vector's Each: see quick
	pooled *[outBytes]byte
	buf    []byte
	head   int   // how much of buf is the answer's head, which it begins with; 0 once that went out
	err    error // the first failure to write

	vec [3][]byte

	posted int // how much of buf try wrote
}

func (o *output) init(nc net.Conn) {
	o.nc = plainOf(nc)
	o.vector, _ = o.nc.(*sock.Conn)
}

// try writes what the kernel takes of the buffer at once. Another goroutine may call it,
// for whom this one waits.
func (o *output) try() { o.posted = o.vector.Try(o.buf, o.within) }

// take gets a buffer for the messages to come; free gives it back.
func (o *output) take() {
	if o.pooled == nil {
		o.pooled = outPool.Get().(*[outBytes]byte)
		o.buf = o.pooled[:0]
	}
}

func (o *output) free() {
	if o.pooled != nil {
		outPool.Put(o.pooled)
		o.pooled, o.buf, o.head = nil, nil, 0
	}
}

// flush writes what is buffered.
func (o *output) flush() error {
	if o.err == nil && len(o.buf) > 0 {
		if o.within {
			_, o.err = o.vector.WriteWithin(o.buf)
		} else {
			_, o.err = o.nc.Write(o.buf)
		}
	}
	o.reset()
	return o.err
}

// flushBy has keep call post, once, at the time it keeps, which is to call try, and then
// writes what is left. Where keep returns an error nothing was written, and the buffer is
// dropped.
func (o *output) flushBy(keep func(post func()) error, post func()) (kept bool, err error) {
	o.posted = 0
	if err := keep(post); err != nil {
		o.reset()
		return false, err
	}
	o.buf = o.buf[o.posted:]
	return true, o.flush()
}

// reset drops what is buffered, and a buffer that a large head made.
func (o *output) reset() {
	o.head = 0
	if o.pooled != nil {
		o.buf = o.pooled[:0]
	}
}

// add sends p and suffix after what is buffered: copied where they fit, from
// where they are otherwise.
func (o *output) add(p []byte, suffix string) error {
	switch {
	case o.err != nil:
		return o.err
	case len(o.buf)+len(p)+len(suffix) <= outBytes:
		o.buf = append(append(o.buf, p...), suffix...)
		return nil
	case o.vector != nil && len(p) >= vectorBytes:
		o.vec = [3][]byte{o.buf, p, nil}
		n := 2
		if suffix != "" {
			o.vec[2] = append(o.buf, suffix...)[len(o.buf):]
			n = 3
		}
		o.err = o.vector.WriteVec(o.vec[:n])
		o.vec = [3][]byte{}
		o.reset()
		return o.err
	}
	// Fill the buffer first: under TLS each write is a record.
	if n := min(outBytes-len(o.buf), len(p)); n > 0 {
		o.buf = append(o.buf, p[:n]...)
		p = p[n:]
	}
	if err := o.flush(); err != nil {
		return err
	}
	if len(p) >= outBytes {
		if _, o.err = o.nc.Write(p); o.err != nil {
			return o.err
		}
		p = nil
	}
	o.buf = append(append(o.buf, p...), suffix...)
	return nil
}

// addChunk sends p as one transfer chunk.
func (o *output) addChunk(p []byte) error {
	o.buf = strconv.AppendInt(o.buf, int64(len(p)), 16)
	o.buf = append(o.buf, "\r\n"...)
	return o.add(p, "\r\n")
}

// addEnd ends a chunked body. The trailer was checked.
func (o *output) addEnd(trailer fixtures.Header) error {
	b := append(o.buf, "0\r\n"...)
	b, err := appendFields(b, trailer)
	if err != nil {
		return err
	}
	o.buf = append(b, "\r\n"...)
	return nil
}

// appendFields appends trailer or interim fields. Framing fields are left out.
func appendFields(b []byte, h fixtures.Header) ([]byte, error) {
	start, lines := len(b), 0
	for i := range h {
		switch kindOf(h[i].Name) {
		case otherField, expectField, upgradeField:
			if b, lines = appendField(b, h[i].Name, h[i].Value), lines+1; !validToken(h[i].Name) {
				return nil, fieldError(h[i].Name)
			}
		}
	}
	return b, checkLines(b[start:], lines)
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

func fieldError(name string) error {
	return fmt.Errorf("write head: %q is no field name", name)
}

// checkLines makes sure that no value brought line ends of its own: b was
// made of that many lines. Three passes over the whole cost less than one
// look at each byte.
func checkLines(b []byte, lines int) error {
	if bytes.Count(b, []byte{'\n'}) != lines || bytes.Count(b, []byte{'\r'}) != lines || bytes.IndexByte(b, 0) >= 0 {
		return fmt.Errorf("write head: CR, LF or NUL within a field or the reason")
	}
	return nil
}

// appendStatusLine appends a status line. exact keeps an empty reason.
func appendStatusLine(b []byte, status int, reason string, exact bool) ([]byte, error) {
	if status < 100 || status > 999 {
		return nil, fmt.Errorf("write head: status %d has not three digits", status)
	}
	if reason == "" && !exact {
		reason = http.StatusText(status)
	}
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, reason...)
	return append(b, "\r\n"...), nil
}
