package http1

import (
	"bytes"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// scripted is a connection that reads from in, at most step bytes a call, and
// keeps what is written.
type scripted struct {
	net.Conn
	in   io.Reader
	step int
	out  bytes.Buffer
}

func (s *scripted) Read(p []byte) (int, error) {
	if s.step > 0 {
		p = p[:min(len(p), s.step)]
	}
	return s.in.Read(p)
}
func (s *scripted) Write(p []byte) (int, error) { return s.out.Write(p) }

// Law: what we accept, written again, reads the same.
func FuzzRequestHead(f *testing.F) {
	for _, c := range oddRequests {
		if len(c.raw) < 1000 {
			f.Add(c.raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r, in, err := parseOne(raw)
		if err != nil {
			return
		}
		if in.body != noBody {
			r.Body = strings.NewReader("")
		}
		again, _, err := appendRequestHead(nil, r)
		if err != nil {
			t.Fatalf("write what was read from %q: %v", raw, err)
		}
		r2, in2, err := parseOne(string(again))
		if err != nil {
			t.Fatalf("%q became %q: %v", raw, again, err)
		}
		want, got := requestCore(r), requestCore(r2)
		if !reflect.DeepEqual(want, got) || in.body != in2.body {
			t.Errorf("%q became %q:\n%+v\n%+v", raw, again, want, got)
		}
	})
}

// requestCore is what must survive a rewrite: not the version, nor fields that
// belong to one connection, nor repeats of a length, nor the Host field that
// an absolute target overrules or that was missing.
func requestCore(r *wire.Request) wire.Request {
	c := *r
	c.Proto, c.Body, c.Header = "", nil, nil
	for _, f := range r.Header {
		if k := kindOf(f.Name); k == otherField || k == expectField {
			c.Header = append(c.Header, f)
		}
	}
	return c
}

// Law: a response that we accept and write again with its own framing reads the same.
func FuzzResponseHead(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 200\r\nX: a\r\n  b\r\n\r\n",
		"HTTP/1.0 404 \r\nConnection: keep-alive\r\nContent-Length: 5, 5\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5\r\n\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r, in, err := parseAnswer(raw)
		if err != nil || r.Status < 200 {
			return
		}
		h := &wire.Head{Status: r.Status, Reason: r.Reason, Exact: true, Header: r.Header, Length: r.Length, Chunked: r.Chunked}
		fr := frameAnswer(h, &requestInfo{}, false)
		again, err := appendAnswerHead(nil, h, fr, false, 0)
		if err != nil {
			t.Fatalf("write what was read from %q: %v", raw, err)
		}
		r2, in2, err := parseAnswer(string(again))
		if err != nil {
			t.Fatalf("%q became %q: %v", raw, again, err)
		}
		if in.body == untilClose { // becomes chunked
			in.body, r.Chunked = chunked, true
		}
		other := func(h fixtures.Header) fixtures.Header {
			return slices.DeleteFunc(slices.Clone(h), func(f fixtures.Field) bool { return kindOf(f.Name) != otherField })
		}
		if r.Status != r2.Status || r.Reason != r2.Reason || r.Length != r2.Length || r.Chunked != r2.Chunked ||
			in.body != in2.body || !slices.Equal(other(r.Header), other(r2.Header)) {
			t.Errorf("%q became %q:\n%+v\n%+v", raw, again, r, r2)
		}
	})
}

func parseAnswer(raw string) (*wire.Response, responseInfo, error) {
	src := &source{nc: &scripted{in: strings.NewReader(raw)}}
	src.open()
	defer src.free()
	head, lines, err := src.readHead(defaultHeadBytes, nil)
	if err != nil {
		return nil, responseInfo{}, err
	}
	r := &wire.Response{}
	in, err := parseResponse(head, lines, "GET", r)
	return r, in, err
}

// Law: decode(encode(x)) is x, however the bytes arrive and are asked for, and
// what follows the body is left alone. Chunks keep their borders.
func FuzzChunkedRoundTrip(f *testing.F) {
	f.Add([]byte("hello, world"), uint8(3), uint8(1), uint16(100))
	f.Add([]byte{}, uint8(1), uint8(7), uint16(1))
	f.Add(bytes.Repeat([]byte("x"), 10_000), uint8(255), uint8(0), uint16(5000))
	f.Fuzz(func(t *testing.T, data []byte, piece, step uint8, ask uint16) {
		sink := &scripted{}
		out := &output{nc: sink}
		out.take()
		trailer := header("X-Sum", "1")
		size := int(piece)*37 + 1
		chunks := 0
		for p := range slices.Chunk(data, size) {
			chunks++
			if err := out.addChunk(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := out.addEnd(trailer); err != nil {
			t.Fatal(err)
		}
		_ = out.flush()
		const next = "GET / HTTP/1.1\r\n"
		src := &source{nc: &scripted{in: io.MultiReader(&sink.out, strings.NewReader(next)), step: int(step)}}
		src.open()
		defer src.free()
		var b bodyReader
		b.init(src, chunked, -1)
		var got []byte
		p := make([]byte, int(ask)+1)
		for {
			n, err := b.read(p)
			if n > size {
				t.Fatalf("one read gave %d bytes, more than a chunk of %d", n, size)
			}
			got = append(got, p[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, data) || !slices.Equal(b.trailer, trailer) {
			t.Errorf("got %d bytes and trailer %v, want %d and %v", len(got), b.trailer, len(data), trailer)
		}
		rest := string(src.take())
		more, _ := io.ReadAll(src.nc)
		if rest+string(more) != next {
			t.Errorf("after the body: %q, want %q", rest+string(more), next)
		}
	})
}

// Law: the decoder never gives more than the input holds, never panics, and
// its errors stay.
func FuzzChunkedDecode(f *testing.F) {
	f.Add([]byte("1;a=b\r\nx\r\n0\r\nA: b\r\n\r\nrest"), uint8(0))
	f.Add([]byte("ffffffffffffffff\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, raw []byte, step uint8) {
		src := &source{nc: &scripted{in: bytes.NewReader(raw), step: int(step)}}
		src.open()
		defer src.free()
		var b bodyReader
		b.init(src, chunked, -1)
		p := make([]byte, 64)
		total := 0
		for {
			n, err := b.read(p)
			if total += n; total > len(raw) {
				t.Fatalf("%d bytes out of %d", total, len(raw))
			}
			if err != nil {
				if n, again := b.read(p); n != 0 || again != err {
					t.Fatalf("after %v a read gave %d, %v", err, n, again)
				}
				return
			}
		}
	})
}
