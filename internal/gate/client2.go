package gate

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// client2 speaks HTTP/2 on one connection, one request after the other. Its
// requests are encoded beforehand and its windows are as large as they can be, so
// that an exchange is one write and the reading of its frames; nothing is kept.
type client2 struct {
	conn   net.Conn
	out    *bufio.Writer
	fr     *http2.Framer
	dec    *hpack.Decoder
	blocks [][]byte

	stream uint32 // the last one opened
	status int
	owed   uint32 // bytes of body that the connection's window has not been given back
	last   bool   // the peer opens no more streams
}

const (
	largestWindow = 1<<31 - 1
	firstWindow   = 1<<16 - 1 // RFC 9113, 6.9.2
	lastStream    = 1<<31 - 1
)

func newClient2(conn net.Conn, blocks ...[]byte) (*client2, error) {
	c := &client2{conn: conn, out: bufio.NewWriterSize(conn, 4<<10), blocks: blocks}
	c.fr = http2.NewFramer(c.out, bufio.NewReaderSize(conn, 64<<10))
	c.fr.SetReuseFrames()
	c.fr.SetMaxReadFrameSize(1 << 20)
	c.dec = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" {
			c.status, _ = strconv.Atoi(f.Value) // 0 is an error later on
		}
	})
	c.stream-- // the first one is 1
	if err := conn.SetDeadline(time.Now().Add(giveUp)); err != nil {
		return nil, err
	}
	_, err := c.out.WriteString(http2.ClientPreface)
	return c, errors.Join(err,
		c.fr.WriteSettings(http2.Setting{ID: http2.SettingEnablePush}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: largestWindow}),
		c.fr.WriteWindowUpdate(0, largestWindow-firstWindow),
		c.out.Flush())
}

// requestBlock encodes a request's head without the dynamic table: it is then
// good at any time, on any connection.
func requestBlock(u *url.URL, path string, header []string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	e.SetMaxDynamicTableSize(0)
	fields := []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: u.Scheme}, {Name: ":authority", Value: u.Host}, {Name: ":path", Value: path},
		{Name: "user-agent", Value: "understudy-gate"}, {Name: "accept", Value: "*/*"},
	}
	for _, f := range header {
		name, value, _ := strings.Cut(f, ":")
		fields = append(fields, hpack.HeaderField{Name: strings.ToLower(strings.TrimSpace(name)), Value: strings.TrimSpace(value)})
	}
	for _, f := range fields {
		_ = e.WriteField(f) // a buffer takes all
	}
	return b.Bytes()
}

// exchange sends one of the requests, as talker says.
func (c *client2) exchange(number int) (keep bool, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(giveUp)); err != nil {
		return false, err
	}
	c.stream += 2
	c.status = 0
	err = c.fr.WriteHeaders(http2.HeadersFrameParam{
		StreamID: c.stream, BlockFragment: c.blocks[number%len(c.blocks)], EndStream: true, EndHeaders: true,
	})
	if err = errors.Join(err, c.out.Flush()); err != nil {
		return false, err
	}
	for done := false; !done; {
		if done, err = c.read(); err != nil {
			return false, err
		}
	}
	if c.status/100 != 2 {
		err = statusError(c.status)
	}
	return !c.last && c.stream < lastStream, err
}

// read takes one frame, and reports whether it ended the answer.
func (c *client2) read() (done bool, err error) {
	frame, err := c.fr.ReadFrame()
	if err != nil {
		return false, err
	}
	ours := frame.Header().StreamID == c.stream
	switch f := frame.(type) {
	case *http2.HeadersFrame:
		return ours && f.StreamEnded(), c.head(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.DataFrame:
		return ours && f.StreamEnded(), c.giveBack(f.Length)
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return false, errors.Join(c.fr.WriteSettingsAck(), c.out.Flush())
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return false, errors.Join(c.fr.WritePing(true, f.Data), c.out.Flush())
		}
	case *http2.RSTStreamFrame:
		if ours {
			return false, fmt.Errorf("stream reset: %s", f.ErrCode)
		}
	case *http2.GoAwayFrame:
		c.last = true
		if f.LastStreamID < c.stream {
			return false, fmt.Errorf("connection refused the stream: %s", f.ErrCode)
		}
	}
	return false, nil
}

// head decodes a header block to its end: the table is the connection's, so
// that none may be left out.
func (c *client2) head(fragment []byte, ended bool) error {
	for {
		if _, err := c.dec.Write(fragment); err != nil {
			return err
		}
		if ended {
			return c.dec.Close()
		}
		frame, err := c.fr.ReadFrame()
		if err != nil {
			return err
		}
		f, ok := frame.(*http2.ContinuationFrame)
		if !ok {
			return errors.New("header block without its end")
		}
		fragment, ended = f.HeaderBlockFragment(), f.HeadersEnded()
	}
}

// giveBack opens the connection's window again, seldom: it is large. A stream's
// own is never used up by one answer.
func (c *client2) giveBack(n uint32) error {
	if c.owed += n; c.owed < largestWindow/2 {
		return nil
	}
	n, c.owed = c.owed, 0
	return errors.Join(c.fr.WriteWindowUpdate(0, n), c.out.Flush())
}
