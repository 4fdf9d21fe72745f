package proxy

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// A small body goes upstream in one write with its head, through the tee.
func TestSmallBodyGoesWithItsHead(t *testing.T) {
	first := make(chan string, 1)
	to := rawOrigin(t, func(nc *net.TCPConn) {
		buf := make([]byte, 4096)
		n, _ := nc.Read(buf)
		first <- string(buf[:n])
		_, _ = io.WriteString(nc, "HTTP/1.1 204 No Content\r\n\r\n")
	})
	g := newRig(t, "http://"+to, recording)
	if _, err := g.ask("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nsmall"); err != nil {
		t.Fatal(err)
	}
	if got := <-first; !strings.HasSuffix(got, "\r\n\r\nsmall") {
		t.Errorf("the upstream's first read gave %q", got)
	}
}

func TestBodyTee(t *testing.T) {
	ends := 0
	tee := func(src io.Reader, length int64, trailer bool) *bodyTee {
		r := &wire.Request{Body: src, Length: length, At: time.Now()}
		if trailer {
			r.Trailer = func() fixtures.Header { return nil }
		}
		ends = 0
		return newBodyTee(r, func() { ends++ })
	}
	// The end is known by the length, before the source says so.
	b := tee(strings.NewReader("abc"), 3, false)
	if n, err := b.Read(make([]byte, 8)); n != 3 || err != io.EOF || ends != 1 {
		t.Errorf("Read() = %d, %v, told of %d ends; want 3, EOF, 1", n, err, ends)
	}
	// But trailers are waited for.
	b = tee(strings.NewReader("abc"), 3, true)
	if n, err := b.Read(make([]byte, 8)); n != 3 || err != nil || ends != 1 {
		t.Errorf("Read() before trailers = %d, %v, told of %d ends; want 3, nil, 1", n, err, ends)
	}
	if rec, at := b.close(); rec.CutShort || rec.Size != 3 || at <= 0 {
		t.Errorf("close() = %+v, %v, want a whole body", rec, at)
	}
	// What was read ahead comes again, and then the rest, or the error.
	broken := errors.New("broken")
	b = tee(io.MultiReader(strings.NewReader("abcdef"), iotest.ErrReader(broken)), -1, false)
	ahead, err := io.ReadAll(io.LimitReader(b, 4))
	if err != nil {
		t.Fatal(err)
	}
	b.putBack(ahead)
	if n := b.Buffered(); n != 4 {
		t.Errorf("Buffered() = %d, want 4", n)
	}
	all, err := io.ReadAll(b)
	if string(all) != "abcdef" || !errors.Is(err, broken) || !errors.Is(b.failed(), broken) || ends != 0 {
		t.Errorf("ReadAll() = %q, %v, failed %v, told of %d ends", all, err, b.failed(), ends)
	}
	if rec, _ := b.close(); !rec.CutShort || rec.Size != 6 {
		t.Errorf("close() = %+v, want 6 bytes, cut short", rec)
	}
	// Nothing is noted after the end of the exchange.
	b = tee(strings.NewReader("abc"), -1, false)
	b.close()
	if n, err := b.Read(make([]byte, 8)); n != 0 || err != io.ErrClosedPipe || b.rec.Size != 0 {
		t.Errorf("Read() after close = %d, %v, size %d", n, err, b.rec.Size)
	}
}

// The rhythm of a long body stays bounded.
func TestFramesAreBounded(t *testing.T) {
	var b fixtures.Body
	for i := range 3 * framesKept {
		addFrame(&b, time.Duration(i)*time.Microsecond, 2)
	}
	var sum int64
	for _, f := range b.Frames {
		sum += int64(f.Size)
	}
	if len(b.Frames) > framesKept+2*framesKept/1000+1 || sum != b.Size || sum != 6*framesKept {
		t.Errorf("%d frames of %d bytes, size %d, want %d", len(b.Frames), sum, b.Size, 6*framesKept)
	}
}
