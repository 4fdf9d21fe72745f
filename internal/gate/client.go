package gate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// client speaks HTTP/1.1 on one connection, one request after the other, and
// allocates nothing for an exchange. It reads what a sane proxy sends: a length or
// chunks; it keeps no header and no body.
type client struct {
	conn     net.Conn
	requests [][]byte
	buf      []byte
	r, w     int // what is read but not used: buf[r:w]
}

// giveUp is how long an answer may take.
const giveUp = 10 * time.Second

func newClient(conn net.Conn, requests ...[]byte) *client {
	return &client{conn: conn, requests: requests, buf: make([]byte, 64<<10)}
}

// exchange sends one of the requests, as talker says.
func (c *client) exchange(number int) (keep bool, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(giveUp)); err != nil {
		return false, err
	}
	if _, err := c.conn.Write(c.requests[number%len(c.requests)]); err != nil {
		return false, err
	}
	h, err := c.head()
	for err == nil && h.status/100 == 1 {
		h, err = c.head()
	}
	if err != nil {
		return false, err
	}
	switch {
	case h.chunked:
		err = c.chunks()
	case h.length >= 0:
		err = c.discard(h.length)
	default:
		err = errors.New("answer without a length: want Content-Length or chunks")
	}
	if err != nil {
		return false, err
	}
	if h.status/100 != 2 {
		err = statusError(h.status)
	}
	return !h.last, err
}

// statusError is an answer that came whole, with a status other than 2xx.
type statusError int

func (e statusError) Error() string {
	text := fmt.Sprintf("answer with status %d", int(e))
	if e/100 == 3 {
		text += ", and redirects are not followed"
	}
	return text
}

type head struct {
	status  int
	length  int64 // -1 for unknown
	chunked bool
	last    bool // the sender closes after it
}

var (
	nameLength   = []byte("Content-Length")
	nameEncoding = []byte("Transfer-Encoding")
	nameConn     = []byte("Connection")
	tokenChunked = []byte("chunked")
	tokenClose   = []byte("close")
)

func (c *client) head() (head, error) {
	h := head{length: -1}
	line, err := c.line()
	if err != nil {
		return h, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return h, fmt.Errorf("want a status line, got %.40q", line)
	}
	h.last = line[7] == '0'
	if h.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return h, fmt.Errorf("want a status, got %.40q", line)
	}
	if h.status == 204 || h.status == 304 {
		h.length = 0
	}
	for {
		line, err := c.line()
		if err != nil || len(line) == 0 {
			return h, err
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, nameLength):
			if h.length, err = strconv.ParseInt(string(value), 10, 63); err != nil || h.length < 0 {
				return h, fmt.Errorf("want a length, got %.40q", value)
			}
		case bytes.EqualFold(name, nameEncoding):
			h.chunked = bytes.EqualFold(value, tokenChunked)
		case bytes.EqualFold(name, nameConn):
			h.last = h.last || bytes.EqualFold(value, tokenClose)
		}
	}
}

// connectHead reads the head of an answer to CONNECT, which has no body.
func (c *client) connectHead() (int, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(giveUp))
	h, err := c.head()
	if err == nil && h.status == 200 && c.r != c.w {
		err = errors.New("bytes before the tunnel was used")
	}
	return h.status, errors.Join(err, c.conn.SetReadDeadline(time.Time{}))
}

// line returns the next line without its end. It is good until the next call.
func (c *client) line() ([]byte, error) {
	for from := c.r; ; {
		if i := bytes.IndexByte(c.buf[from:c.w], '\n'); i >= 0 {
			line := c.buf[c.r : from+i]
			c.r = from + i + 1
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		seen := c.w - c.r
		if err := c.fill(); err != nil {
			return nil, err
		}
		from = c.r + seen
	}
}

// fill reads more behind what is there.
func (c *client) fill() error {
	if c.r > 0 {
		copy(c.buf, c.buf[c.r:c.w])
		c.r, c.w = 0, c.w-c.r
	}
	if c.w == len(c.buf) {
		return errors.New("a line of the answer is longer than 64 KiB")
	}
	n, err := c.conn.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *client) discard(n int64) error {
	for {
		have := min(n, int64(c.w-c.r))
		c.r += int(have)
		if n -= have; n == 0 {
			return nil
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

func (c *client) chunks() error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		digits, _, _ := bytes.Cut(line, []byte(";"))
		size, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 16, 62)
		if err != nil {
			return fmt.Errorf("want a chunk's size, got %.40q", line)
		}
		if size == 0 {
			break
		}
		if err := c.discard(int64(size)); err != nil {
			return err
		}
		if line, err = c.line(); err != nil {
			return err
		} else if len(line) != 0 {
			return fmt.Errorf("want a chunk's end, got %.40q", line)
		}
	}
	for { // the trailer
		line, err := c.line()
		if err != nil || len(line) == 0 {
			return err
		}
	}
}
