package http1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/proxy/sock"
)

const (
	// inBytes holds a usual head and small bodies in one read.
	inBytes = 8 << 10
	// directBytes is from where a read goes into the caller's buffer at once.
	directBytes = 4 << 10
	// keptHead bounds what an idle connection remembers of its last head.
	keptHead = 1 << 10
)

var inPool = sync.Pool{New: func() any { return new([inBytes]byte) }}

// source is the incoming side of a connection: a buffer that heads are parsed
// in and that keeps what was read beyond them. One goroutine uses it at a time.
type source struct {
	nc     net.Conn
	direct *sock.Conn // nc, or what is read in its place: see rest; else nil
	pooled *[inBytes]byte
	buf    []byte // pooled, or larger where a head did not fit
	r, w   int    // buf[r:w] has been read and not been used
	err    error  // the connection's end, once seen
	last   string // the head before, if short: another like it needs no copy of its own

	limit  *deadline // nil on the upstream side
	frozen bool      // do not touch nc: errNotBuffered instead
}

// rest gives the buffer back where nothing is in it and the next read gets another
// once there is something to read: from a *sock.Conn, which is nc, or below it with
// the same bytes once those read ahead are used up.
func (s *source) rest() {
	if s.r < s.w {
		return
	}
	if s.direct == nil {
		s.direct = drained(s.nc)
	}
	if s.direct != nil {
		s.free()
	}
}

// Take and Drop make s, which is empty, the room for a read: see sock.Room.
func (s *source) Take() []byte {
	s.open()
	s.r, s.w = 0, 0 // what was used up may still be in it, as a request's body
	return s.buf
}

// Drop gives back what Take took.
func (s *source) Drop() { s.free() }

// open gets a buffer, unless there is one; free gives it back, and what is in it is
// lost. A source without one is empty, and may be used: fill opens it.
func (s *source) open() {
	if s.pooled == nil {
		s.pooled = inPool.Get().(*[inBytes]byte)
		s.buf, s.r, s.w = s.pooled[:], 0, 0
	}
}

func (s *source) free() {
	if s.pooled != nil {
		inPool.Put(s.pooled)
	}
	s.pooled, s.buf, s.r, s.w = nil, nil, 0, 0
}

func (s *source) buffered() int { return s.w - s.r }

// take copies what is buffered away, for a new owner of the connection.
func (s *source) take() []byte {
	rest := bytes.Clone(s.buf[s.r:s.w])
	s.r = s.w
	return rest
}

// fill reads once into the buffer. It returns errLineTooLong when that is full.
func (s *source) fill() error {
	if s.frozen && s.err == nil {
		return errNotBuffered
	}
	if s.r == s.w {
		if s.direct != nil {
			s.free()
			n, err := s.read(nil)
			s.w = n
			return err
		}
		s.open()
		s.r, s.w = 0, 0
	} else if s.w == len(s.buf) && s.r > 0 {
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	if s.w == len(s.buf) && s.err == nil && !s.frozen {
		return errLineTooLong
	}
	n, err := s.read(s.buf[s.w:])
	s.w += n
	return err
}

// fillAfter is fill once p has been written to nc, which is c. The buffer is empty.
func (s *source) fillAfter(c *sock.Conn, p []byte) (sock.Sent, error) {
	s.free()
	n, sent, err := c.ReadAfter(p, s)
	s.w = n
	if n > 0 {
		return sent, nil // an error that came along comes again
	}
	s.err = err
	return sent, err
}

// read reads from the connection past the buffer; for a nil p into a new one, which
// direct is there for. It returns n > 0 or an error.
func (s *source) read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.frozen {
		return 0, errNotBuffered
	}
	for {
		n, err := s.once(p)
		if n > 0 {
			// An error that came along comes again.
			return n, nil
		}
		if err == nil {
			continue
		}
		if s.limit != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			if err = s.limit.passed(); err == nil {
				continue
			}
			return 0, err
		}
		s.err = err
		return 0, err
	}
}

func (s *source) once(p []byte) (int, error) {
	if p == nil {
		return s.direct.ReadInto(s)
	}
	return s.nc.Read(p)
}

// readHead consumes a head and its empty line, and returns it without that
// line. Every line of it ends with CRLF. late is called before each further
// read when the head has not come whole.
func (s *source) readHead(maxBytes int, late func()) (head string, lines int, err error) {
	line, next := 0, 0 // offsets from r: start of the line, where to look on
	for {
		for {
			i := bytes.IndexByte(s.buf[s.r+next:s.w], '\n')
			if i < 0 {
				next = s.buffered()
				break
			}
			end := next + i
			if end > maxBytes {
				return "", 0, errHeadTooLarge
			}
			if end == line || s.buf[s.r+end-1] != '\r' {
				return "", 0, errBareLF
			}
			if end == line+1 {
				head = s.keep(s.buf[s.r : s.r+line])
				s.r += end + 1
				s.shrink()
				return head, lines, nil
			}
			lines++
			line, next = end+1, end+1
		}
		if s.buffered() > maxBytes {
			return "", 0, errHeadTooLarge
		}
		if s.r == 0 && s.w == len(s.buf) {
			s.buf = append(s.buf, make([]byte, len(s.buf))...)
		}
		if late != nil {
			late()
		}
		if err := s.fill(); err != nil {
			return "", 0, err
		}
	}
}

// keep returns head as a string that may be kept. On a connection one is often the same
// as the one before, to the byte, and so is the string then.
func (s *source) keep(head []byte) string {
	if string(head) == s.last {
		return s.last
	}
	kept := string(head)
	if s.last = kept; len(kept) > keptHead {
		s.last = ""
	}
	return kept
}

// shrink returns to the pooled buffer after a large head.
func (s *source) shrink() {
	if len(s.buf) > inBytes && s.buffered() <= inBytes {
		n := copy(s.pooled[:], s.buf[s.r:s.w])
		s.buf, s.r, s.w = s.pooled[:], 0, n
	}
}

// readLine consumes a line and returns it without its CRLF, valid until the
// next use of s. Nothing is consumed when it returns an error.
func (s *source) readLine(maxBytes int) ([]byte, error) {
	next := 0
	for {
		if i := bytes.IndexByte(s.buf[s.r+next:s.w], '\n'); i >= 0 {
			end := next + i
			if end > maxBytes {
				return nil, errLineTooLong
			}
			if end == 0 || s.buf[s.r+end-1] != '\r' {
				return nil, errBareLF
			}
			line := s.buf[s.r : s.r+end-1]
			s.r += end + 1
			return line, nil
		}
		next = s.buffered()
		if next > maxBytes {
			return nil, errLineTooLong
		}
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
}

// readSome reads up to len(p) bytes, buffered ones first. Where more than p
// is wanted soon (p is small) it fills the buffer on the way.
func (s *source) readSome(p []byte) (int, error) {
	if s.r == s.w {
		if len(p) >= directBytes {
			return s.read(p)
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.buf[s.r:s.w])
	s.r += n
	return n, nil
}

// cutShort makes the loss of a connection within a message look like
// io.ErrUnexpectedEOF to errors.Is.
func cutShort(err error) error {
	switch {
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case errors.Is(err, io.ErrUnexpectedEOF), err == errInterrupted, err == errNotBuffered:
		return err
	}
	return &cutError{err}
}

// cutError is io.ErrUnexpectedEOF with a cause other than EOF.
type cutError struct{ err error }

func (e *cutError) Error() string        { return "cut short: " + e.err.Error() }
func (e *cutError) Unwrap() error        { return e.err }
func (e *cutError) Is(target error) bool { return target == io.ErrUnexpectedEOF }

// deadline is a connection's read deadline, moved as rarely as possible: it
// may lie before what is wanted, and is put right when it strikes.
type deadline struct {
	nc  net.Conn
	due time.Time // wanted; zero for none. The reading goroutine's own

	mu    sync.Mutex
	armed time.Time // what nc has; zero for none
	cut   bool      // interrupt was called
}

// set asks for reads to fail from t on; zero for never.
func (d *deadline) set(t time.Time) {
	d.due = t
	if t.IsZero() {
		return
	}
	d.mu.Lock()
	if !d.cut && (d.armed.IsZero() || t.Before(d.armed)) {
		d.arm(t)
	}
	d.mu.Unlock()
}

func (d *deadline) arm(t time.Time) {
	d.armed = t
	_ = d.nc.SetReadDeadline(t) // fails only on a closed connection, which the read will tell
}

// passed says what a read that hit the deadline means: nil to read again.
func (d *deadline) passed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return errInterrupted
	}
	if !d.due.IsZero() && !time.Now().Before(d.due) {
		return os.ErrDeadlineExceeded
	}
	d.arm(d.due)
	return nil
}

// interrupt makes a read under way, and those to come, return errInterrupted.
func (d *deadline) interrupt() {
	d.mu.Lock()
	d.cut = true
	_ = d.nc.SetReadDeadline(time.Unix(1, 0))
	d.mu.Unlock()
}

// resume undoes interrupt, once no read is under way.
func (d *deadline) resume() {
	d.mu.Lock()
	d.cut = false
	d.arm(d.due)
	d.mu.Unlock()
}
