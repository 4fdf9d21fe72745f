package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// hasty is an upstream that answers a request's head, and reads no further.
func hasty(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { // ends with ln
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
				_, _ = io.WriteString(nc, "HTTP/1.1 405 Not Allowed\r\nContent-Length: 2\r\n\r\nno")
			}
			t.Cleanup(func() { _ = nc.Close() })
		}
	}()
	return "http://" + ln.Addr().String()
}

// A request that is answered before its body has come is recorded whole: else
// nobody could tell it from another when it comes again.
func TestEarlyAnswerRecordsTheWholeRequest(t *testing.T) {
	check := func(t *testing.T, g *rig) {
		t.Helper()
		x := g.books.exchange(t, 1)
		g.stop()
		tape := g.books.tapes[0]
		if string(tape.req) != "x=1" || x.Request.Body.Size != 3 || x.Request.Body.CutShort || x.Response.Status != 405 {
			t.Errorf("recorded %q, %d bytes, cut short: %v, status %d; want x=1 whole, and 405",
				tape.req, x.Request.Body.Size, x.Request.Body.CutShort, x.Response.Status)
		}
	}
	t.Run("h1", func(t *testing.T) {
		g := newRig(t, hasty(t), recording)
		nc := g.dial()
		_, _ = io.WriteString(nc, "POST /page HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "no" {
			t.Fatalf("the answer = %q, %v", body, err)
		}
		_, _ = io.WriteString(nc, "x=1")
		check(t, g)
	})
	t.Run("h2", func(t *testing.T) {
		g := newRig(t, hasty(t), recording)
		nc := g.dial()
		fr := xhttp2.NewFramer(nc, nc)
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "a.test"}, {":path", "/page"}, {"content-length", "3"}} {
			_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		_, _ = io.WriteString(nc, xhttp2.ClientPreface)
		_ = fr.WriteSettings()
		_ = fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if f.Header().StreamID == 1 && f.Header().Flags.Has(xhttp2.FlagDataEndStream) {
				break
			}
		}
		_ = fr.WriteData(1, true, []byte("x=1"))
		check(t, g)
	})
}

// One whose body does not come is recorded as what came of it, in good time.
func TestEarlyAnswerDoesNotWaitForEver(t *testing.T) {
	g := newRig(t, hasty(t), recording)
	nc := g.dial()
	_, _ = io.WriteString(nc, "POST /page HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nx")
	if x := g.books.exchange(t, 1); !x.Request.Body.CutShort || x.Request.Body.Size != 1 {
		t.Errorf("recorded %d bytes, cut short: %v; want the one that came, cut short", x.Request.Body.Size, x.Request.Body.CutShort)
	}
}
