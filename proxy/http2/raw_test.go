package http2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// raw is a client made of frames.
type raw struct {
	t    testing.TB
	nc   net.Conn
	fr   *xhttp2.Framer
	hbuf bytes.Buffer
	henc *hpack.Encoder
}

// dialRaw connects and shakes hands; settings are the client's.
func dialRaw(t testing.TB, addr string, settings ...xhttp2.Setting) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second)) // a hang fails instead
	r := newRaw(t, nc)
	if _, err := io.WriteString(nc, xhttp2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	r.ok(r.fr.WriteSettings(settings...))
	return r
}

func newRaw(t testing.TB, nc net.Conn) *raw {
	r := &raw{t: t, nc: nc, fr: xhttp2.NewFramer(nc, nc)}
	r.fr.AllowIllegalWrites = true
	r.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.henc = hpack.NewEncoder(&r.hbuf)
	return r
}

func (r *raw) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// block encodes name, value, name, value…
func (r *raw) block(pairs ...string) []byte {
	r.hbuf.Reset()
	for i := 0; i < len(pairs); i += 2 {
		r.ok(r.henc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}))
	}
	return bytes.Clone(r.hbuf.Bytes())
}

func (r *raw) headers(id uint32, end bool, pairs ...string) {
	r.t.Helper()
	r.ok(r.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: r.block(pairs...), EndStream: end, EndHeaders: true}))
}

// req sends a request for path.
func (r *raw) req(id uint32, end bool, path string, more ...string) {
	r.t.Helper()
	r.headers(id, end, append([]string{":method", "POST", ":scheme", "http", ":authority", "a.test", ":path", path}, more...)...)
}

// next returns the next frame that is not SETTINGS, PING or WINDOW_UPDATE.
func (r *raw) next() (xhttp2.Frame, error) {
	for {
		f, err := r.fr.ReadFrame()
		switch f.(type) {
		case *xhttp2.SettingsFrame, *xhttp2.WindowUpdateFrame:
			continue
		case *xhttp2.PingFrame:
			continue
		}
		return f, err
	}
}

// outcome is what became of stream id, in words: "RST PROTOCOL_ERROR",
// "GOAWAY …", "200 5" (status and bytes) or "EOF".
func (r *raw) outcome(id uint32) string {
	status, n := "", 0
	for {
		f, err := r.next()
		if err != nil {
			return "EOF"
		}
		switch f := f.(type) {
		case *xhttp2.RSTStreamFrame:
			if f.StreamID == id {
				return "RST " + f.ErrCode.String()
			}
		case *xhttp2.GoAwayFrame:
			return "GOAWAY " + f.ErrCode.String()
		case *xhttp2.MetaHeadersFrame:
			if f.StreamID == id {
				if s := f.PseudoValue("status"); s != "" {
					status = s
				}
				if f.StreamEnded() {
					return status
				}
			}
		case *xhttp2.DataFrame:
			if n += len(f.Data()); f.StreamID == id && f.StreamEnded() {
				return status
			}
		}
	}
}

func TestMalformedRequests(t *testing.T) {
	addr := listen(t, &Server{Handler: scenario(t)}, false)
	const (
		protocol = "RST PROTOCOL_ERROR"
		goaway   = "GOAWAY PROTOCOL_ERROR"
	)
	base := []string{":method", "GET", ":scheme", "http", ":authority", "a.test", ":path", "/hello"}
	with := func(more ...string) []string { return append(append([]string{}, base...), more...) }
	for _, c := range []struct {
		name  string
		pairs []string
		want  string
	}{
		{"plain", base, "200"},
		{"no method", base[2:], protocol},
		{"no path", base[:6], protocol},
		{"empty path", append(append([]string{}, base[:6]...), ":path", ""), protocol},
		{"relative path", append(append([]string{}, base[:6]...), ":path", "hello"), protocol},
		{"no scheme", append([]string{":method", "GET"}, base[4:]...), protocol},
		{"two paths", append([]string{":path", "/"}, base...), protocol},
		{"unknown pseudo", append([]string{":x", "1"}, base...), protocol},
		{"response pseudo", append([]string{":status", "200"}, base...), protocol},
		{"pseudo behind", with("a", "b", ":authority", "x"), protocol},
		{"upper case", with("Abc", "1"), protocol},
		{"bad name", with("a b", "1"), protocol},
		{"empty name", with("", "1"), protocol},
		{"line feed", with("a", "1\n2"), protocol},
		{"nul", with("a", "1\x002"), protocol},
		{"blank around", with("a", " 1"), protocol},
		{"connection", with("connection", "close"), protocol},
		{"transfer-encoding", with("transfer-encoding", "chunked"), protocol},
		{"upgrade", with("upgrade", "h2c"), protocol},
		{"te gzip", with("te", "gzip"), protocol},
		{"te trailers", with("te", "trailers"), "200"},
		{"host differs", with("host", "b.test"), protocol},
		{"host agrees", with("host", "a.test"), "200"},
		{"two hosts", with("host", "a.test", "host", "a.test"), protocol},
		{"user info", []string{":method", "GET", ":scheme", "http", ":authority", "u@a.test", ":path", "/"}, protocol},
		{"bad length", with("content-length", "-1"), protocol},
		{"two lengths", with("content-length", "1", "content-length", "2"), protocol},
		{"length without body", with("content-length", "5"), protocol},
		{"CONNECT with path", append([]string{":method", "CONNECT"}, base[2:]...), protocol},
		{"asterisk", []string{":method", "OPTIONS", ":scheme", "http", ":authority", "a.test", ":path", "*"}, "404"},
		{"asterisk GET", []string{":method", "GET", ":scheme", "http", ":authority", "a.test", ":path", "*"}, protocol},
	} {
		r := dialRaw(t, addr)
		r.headers(1, true, c.pairs...)
		if got := r.outcome(1); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
			continue
		}
		r.req(3, true, "/hello")
		if got := r.outcome(3); got != "200" {
			t.Errorf("%s: the next request: %s, want 200", c.name, got)
		}
	}

	for _, c := range []struct {
		name string
		send func(r *raw)
		want string
	}{
		{"even id", func(r *raw) { r.req(2, true, "/hello") }, goaway},
		{"id goes back", func(r *raw) { r.req(5, true, "/204"); r.req(3, true, "/hello") }, "GOAWAY STREAM_CLOSED"},
		{"DATA on idle", func(r *raw) { r.ok(r.fr.WriteData(1, true, nil)) }, goaway},
		{"RST on idle", func(r *raw) { r.ok(r.fr.WriteRSTStream(1, 8)) }, goaway},
		{"WINDOW_UPDATE on idle", func(r *raw) { r.ok(r.fr.WriteWindowUpdate(1, 8)) }, goaway},
		{"WINDOW_UPDATE of 0", func(r *raw) { r.ok(r.fr.WriteWindowUpdate(0, 0)) }, goaway},
		{"window overflow", func(r *raw) { r.ok(r.fr.WriteWindowUpdate(0, 1<<31-1)) }, "GOAWAY FLOW_CONTROL_ERROR"},
		{"bad setting", func(r *raw) { r.ok(r.fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingMaxFrameSize, Val: 1})) }, goaway},
		{"bad window setting", func(r *raw) {
			r.ok(r.fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1 << 31}))
		}, "GOAWAY FLOW_CONTROL_ERROR"},
		{"SETTINGS on a stream", func(r *raw) { r.ok(r.fr.WriteRawFrame(xhttp2.FrameSettings, 0, 1, nil)) }, goaway},
		{"SETTINGS of 5 bytes", func(r *raw) { r.ok(r.fr.WriteRawFrame(xhttp2.FrameSettings, 0, 0, make([]byte, 5))) }, "GOAWAY FRAME_SIZE_ERROR"},
		{"PING of 7 bytes", func(r *raw) { r.ok(r.fr.WriteRawFrame(xhttp2.FramePing, 0, 0, make([]byte, 7))) }, "GOAWAY FRAME_SIZE_ERROR"},
		{"frame too large", func(r *raw) { _, err := r.nc.Write([]byte{0, 64, 1, 0, 0, 0, 0, 0, 1}); r.ok(err) }, "GOAWAY FRAME_SIZE_ERROR"},
		{"push", func(r *raw) {
			r.ok(r.fr.WritePushPromise(xhttp2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: r.block(":method", "GET"), EndHeaders: true}))
		}, goaway},
		{"lone CONTINUATION", func(r *raw) { r.ok(r.fr.WriteContinuation(1, true, nil)) }, goaway},
		{"frame inside a field block", func(r *raw) {
			r.ok(r.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: r.block(":method", "GET")}))
			r.ok(r.fr.WritePing(false, [8]byte{}))
		}, goaway},
		{"broken compression", func(r *raw) {
			r.ok(r.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true}))
		}, "GOAWAY COMPRESSION_ERROR"},
		{"unknown frame", func(r *raw) { r.ok(r.fr.WriteRawFrame(0xbe, 0xff, 1, []byte("x"))); r.req(1, true, "/hello") }, "200"},
		{"PRIORITY", func(r *raw) {
			r.ok(r.fr.WritePriority(1, xhttp2.PriorityParam{StreamDep: 3}))
			r.req(1, true, "/hello")
		}, "200"},
		{"more DATA than declared", func(r *raw) {
			r.req(1, false, "/echo", "content-length", "1")
			r.ok(r.fr.WriteData(1, true, []byte("ab")))
		}, protocol},
		{"less DATA than declared", func(r *raw) {
			r.req(1, false, "/echo", "content-length", "3")
			r.ok(r.fr.WriteData(1, true, []byte("ab")))
		}, protocol},
		{"trailers that do not end", func(r *raw) { r.req(1, false, "/echo"); r.headers(1, false, "a", "b") }, protocol},
		{"pseudo in trailers", func(r *raw) { r.req(1, false, "/echo"); r.headers(1, true, ":path", "/") }, protocol},
		{"DATA behind the end", func(r *raw) { r.req(1, true, "/204"); _ = r.outcome(1); r.ok(r.fr.WriteData(1, true, []byte("x"))) }, "RST STREAM_CLOSED"},
		{"HTTP/1", func(r *raw) { _, err := io.WriteString(r.nc, "GET / HTTP/1.1\r\n\r\n"); r.ok(err) }, "GOAWAY FRAME_SIZE_ERROR"},
	} {
		r := dialRaw(t, addr)
		c.send(r)
		if got := r.outcome(1); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// A field block over many CONTINUATION frames, and one beyond the limit.
func TestContinuation(t *testing.T) {
	addr := listen(t, &Server{Handler: scenario(t), MaxHeaderListSize: 64 << 10}, false)
	for size, want := range map[int]string{40 << 10: "200", 70 << 10: "431", 200 << 10: "GOAWAY ENHANCE_YOUR_CALM"} {
		r := dialRaw(t, addr)
		pairs := []string{":method", "GET", ":scheme", "http", ":authority", "a.test", ":path", "/hello"}
		for i := 0; i < size; i += 10_000 {
			pairs = append(pairs, "x", strings.Repeat("~", 10_000))
		}
		block := r.block(pairs...)
		r.ok(r.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:10], EndStream: true}))
		for block = block[10:]; len(block) > 16000; block = block[16000:] {
			if r.fr.WriteContinuation(1, false, block[:16000]) != nil {
				break
			}
		}
		_ = r.fr.WriteContinuation(1, true, block)
		if got := r.outcome(1); got != want {
			t.Errorf("fields of %d bytes: %s, want %s", size, got, want)
		}
	}
}

// What a client takes to send the rest of its head is told.
func TestSlowHead(t *testing.T) {
	waited := make(chan time.Duration, 2)
	addr := listen(t, &Server{Handler: wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, r *wire.Request) {
		if most := time.Since(r.At); r.Waited > most {
			t.Errorf("waited %v of %v", r.Waited, most)
		}
		waited <- r.Waited
		_ = w.WriteHead(&wire.Head{Status: 204})
		_ = w.Finish(nil)
	})}, false)
	r := dialRaw(t, addr)
	block := r.block(":method", "GET", ":scheme", "http", ":authority", "a.test", ":path", "/")
	r.ok(r.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:1], EndStream: true}))
	for i, part := range [][]byte{block[1:3], block[3:]} {
		time.Sleep(10 * time.Millisecond)
		r.ok(r.fr.WriteContinuation(1, i == 1, part))
	}
	if got := <-waited; got <= 0 {
		t.Errorf("a head in three pieces was waited for %v, want some 20ms", got)
	}
	_ = r.outcome(1)
	var frame bytes.Buffer
	r.ok(xhttp2.NewFramer(&frame, nil).WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 3, BlockFragment: r.block(":method", "GET", ":scheme", "http", ":authority", "a.test", ":path", "/"), EndStream: true, EndHeaders: true}))
	for frame.Len() > 0 {
		time.Sleep(10 * time.Millisecond)
		_, err := r.nc.Write(frame.Next(frameHeaderLen + 1))
		r.ok(err)
	}
	if got := <-waited; got <= 0 {
		t.Errorf("a frame in pieces was waited for %v, want some 10ms", got)
	}
	_ = r.outcome(3)
	r.req(5, true, "/")
	if got := <-waited; got != 0 {
		t.Errorf("a whole head was waited for %v, want 0s", got)
	}
}

func TestAbuseIsBounded(t *testing.T) {
	addr := listen(t, &Server{Handler: scenario(t)}, false)
	const calm = "GOAWAY ENHANCE_YOUR_CALM"
	for _, c := range []struct {
		name string
		send func(r *raw, i int) error
	}{
		{"rapid reset", func(r *raw, i int) error {
			id := uint32(2*i + 1)
			block := r.block(":method", "POST", ":scheme", "http", ":authority", "a.test", ":path", "/echo")
			if err := r.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true}); err != nil {
				return err
			}
			return r.fr.WriteRSTStream(id, xhttp2.ErrCodeCancel)
		}},
		{"settings", func(r *raw, _ int) error { return r.fr.WriteSettings() }},
		{"priority", func(r *raw, _ int) error { return r.fr.WritePriority(1, xhttp2.PriorityParam{StreamDep: 3}) }},
		{"window updates", func(r *raw, _ int) error { return r.fr.WriteWindowUpdate(0, 1) }},
		{"empty DATA", func(r *raw, i int) error {
			if i == 0 {
				r.req(1, false, "/echo")
			}
			return r.fr.WriteData(1, false, nil)
		}},
		{"empty CONTINUATION", func(r *raw, i int) error {
			if i == 0 {
				return r.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: r.block(":method", "GET")})
			}
			return r.fr.WriteContinuation(1, false, nil)
		}},
	} {
		r := dialRaw(t, addr)
		go func() { // ends with the connection
			for i := 0; c.send(r, i) == nil; i++ {
			}
		}()
		got := ""
		for got == "" {
			f, err := r.next()
			if err != nil {
				got = err.Error()
			} else if ga, ok := f.(*xhttp2.GoAwayFrame); ok {
				got = "GOAWAY " + ga.ErrCode.String()
			}
		}
		if got != calm {
			t.Errorf("%s: %s, want %s", c.name, got, calm)
		}
	}
}

// Nothing is sent beyond the client's windows, and all of it as they open.
func TestSmallWindows(t *testing.T) {
	addr := listen(t, &Server{Handler: scenario(t)}, false)
	r := dialRaw(t, addr, xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 10})
	r.req(1, true, "/big?100")
	got, window := 0, 10
	for {
		f, err := r.next()
		r.ok(err)
		d, ok := f.(*xhttp2.DataFrame)
		if !ok {
			continue
		}
		got += len(d.Data())
		if window -= len(d.Data()); window < 0 {
			t.Fatalf("%d bytes beyond the window", -window)
		}
		if d.StreamEnded() {
			break
		}
		if window == 0 {
			switch {
			case got == 10: // a change of the setting moves open streams
				r.ok(r.fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 15}))
				window += 5
			case got < 100:
				r.ok(r.fr.WriteWindowUpdate(1, 7))
				window += 7
			}
		}
	}
	if got != 100 {
		t.Errorf("got %d bytes, want 100", got)
	}
}

// A small answer is HEADERS and DATA with END_STREAM, nothing else, in one write.
func TestSmallAnswerIsTwoFrames(t *testing.T) {
	addr := listen(t, &Server{Handler: scenario(t)}, false)
	r := dialRaw(t, addr)
	// The first answer has the connection's own frames beside it, which another
	// goroutine writes, in between perhaps.
	r.req(1, true, "/204")
	if got := r.outcome(1); got != "204" {
		t.Fatalf("first answer = %s, want 204", got)
	}
	r.req(3, true, "/hello")
	f, err := r.next()
	r.ok(err)
	mh, ok := f.(*xhttp2.MetaHeadersFrame)
	if !ok || mh.StreamEnded() {
		t.Fatalf("first frame = %v", f)
	}
	var names []string
	for _, hf := range mh.Fields {
		names = append(names, hf.Name)
	}
	if got, want := strings.Join(names, " "), ":status content-type x-multi x-multi content-length"; got != want {
		t.Errorf("fields = %s, want %s", got, want)
	}
	f, err = r.next()
	r.ok(err)
	if d, ok := f.(*xhttp2.DataFrame); !ok || string(d.Data()) != "hello" || !d.StreamEnded() {
		t.Errorf("second frame = %v, want DATA with END_STREAM", f)
	}
}

func TestBreakCodes(t *testing.T) {
	addr := listen(t, &Server{Handler: scenario(t)}, false)
	r := dialRaw(t, addr)
	for i, code := range []string{"0", "2", "7", "8", "11", "13"} {
		id := uint32(2*i + 1)
		r.req(id, true, "/reset?"+code)
		f, err := r.next()
		r.ok(err)
		rst, ok := f.(*xhttp2.RSTStreamFrame)
		if !ok || rst.StreamID != id || rst.ErrCode.String() != xhttp2.ErrCode([]uint32{0, 2, 7, 8, 11, 13}[i]).String() {
			t.Errorf("reset with %s: %v", code, f)
		}
	}
	r.req(101, true, "/abort")
	if got := r.outcome(101); got != "RST INTERNAL_ERROR" {
		t.Errorf("abort: %s", got)
	}
	r.req(103, true, "/short")
	if got := r.outcome(103); got != "RST INTERNAL_ERROR" {
		t.Errorf("short: %s", got)
	}
	r.req(105, false, "/echo") // stays open
	if f, err := r.next(); err != nil || f.Header().Type != xhttp2.FrameHeaders {
		t.Fatalf("echo's head: %v %v", f, err)
	}
	r.req(107, true, "/goaway")
	f, err := r.next()
	r.ok(err)
	if ga, ok := f.(*xhttp2.GoAwayFrame); !ok || ga.ErrCode != 11 || ga.LastStreamID != 107 {
		t.Errorf("goaway: %v", f)
	}
	r.ok(r.fr.WriteData(105, true, []byte("late")))
	if got := r.outcome(105); got != "" { // its status came before
		t.Errorf("the stream before GOAWAY: %s, want its end", got)
	}
	if got := r.outcome(1); got != "EOF" {
		t.Errorf("behind the last stream: %s, want EOF", got)
	}

	r = dialRaw(t, addr)
	r.req(1, true, "/close")
	if got := r.outcome(1); got != "EOF" {
		t.Errorf("close: %s, want EOF without GOAWAY", got)
	}
	r = dialRaw(t, addr)
	r.req(1, true, "/raw")
	if _, err := r.next(); !errors.Is(err, xhttp2.ConnectionError(xhttp2.ErrCodeFrameSize)) {
		t.Errorf("raw: %v, want the broken PING as it is", err)
	}
}

// The client's RST_STREAM ends ctx; so does its leaving.
func TestGone(t *testing.T) {
	heard := make(chan error, 2)
	begun := make(chan struct{}, 2)
	addr := listen(t, &Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, _ *wire.Request) {
		w.Watch()
		begun <- struct{}{}
		<-ctx.Done()
		_, err := w.Write([]byte("x"))
		heard <- err
	})}, false)
	r := dialRaw(t, addr)
	r.req(1, true, "/")
	r.req(3, true, "/")
	<-begun
	<-begun
	r.ok(r.fr.WriteRSTStream(1, xhttp2.ErrCodeCancel))
	if err := <-heard; err == nil {
		t.Error("Write after RST_STREAM = nil, want an error")
	}
	_ = r.nc.Close()
	if err := <-heard; err == nil {
		t.Error("Write after the client left = nil, want an error")
	}
}

// Each DATA frame is one Read, and trailers follow.
func TestFramesArriveOneByOne(t *testing.T) {
	sizes := make(chan int)
	addr := listen(t, &Server{Handler: wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, r *wire.Request) {
		defer close(sizes)
		buf := make([]byte, 1000)
		for {
			n, err := r.Body.Read(buf)
			if err != nil {
				break
			}
			sizes <- n
		}
		_ = w.WriteHead(&wire.Head{Status: 200, Header: fixtures.Header{{Name: "X-Trailer", Value: r.Trailer().Get("x-t")}}})
		_ = w.Finish(nil)
	})}, false)
	r := dialRaw(t, addr)
	r.req(1, false, "/")
	for n := range 100 { // many before the first is read, but not too many to keep apart
		r.ok(r.fr.WriteDataPadded(1, false, make([]byte, n%40+1), make([]byte, 3)))
		if n >= 40 {
			if got, want := <-sizes, (n-40)%40+1; got != want {
				t.Errorf("Read = %d, want %d", got, want)
			}
		}
	}
	r.headers(1, true, "x-t", "sum")
	for range sizes {
	}
	f, err := r.next()
	r.ok(err)
	if mh, ok := f.(*xhttp2.MetaHeadersFrame); !ok || !strings.Contains(mh.Fields[1].Value, "sum") {
		t.Errorf("answer = %v", f)
	}
}
