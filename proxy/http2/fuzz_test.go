package http2

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/understudy-proxy/understudy/proxy/wire"
)

// Law: whatever follows the preface, the server does not panic, and once the
// client has left, the connection and all its handlers end.
func FuzzServeConn(f *testing.F) {
	seed := func(write func(fr *xhttp2.Framer, block []byte)) {
		var b, h bytes.Buffer
		enc := hpack.NewEncoder(&h)
		for _, p := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/echo"}} {
			_ = enc.WriteField(hpack.HeaderField{Name: p[0], Value: p[1]})
		}
		fr := xhttp2.NewFramer(&b, nil)
		fr.AllowIllegalWrites = true
		_ = fr.WriteSettings()
		write(fr, h.Bytes())
		f.Add(b.Bytes())
	}
	seed(func(fr *xhttp2.Framer, block []byte) {
		_ = fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true, EndStream: true})
	})
	seed(func(fr *xhttp2.Framer, block []byte) {
		_ = fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:3]})
		_ = fr.WriteContinuation(1, true, block[3:])
		_ = fr.WriteDataPadded(1, false, []byte("hello"), []byte{0, 0})
		_ = fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x00, 1, 'a', 1, 'b'}, EndHeaders: true, EndStream: true})
	})
	seed(func(fr *xhttp2.Framer, block []byte) {
		_ = fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true})
		_ = fr.WriteWindowUpdate(1, 5)
		_ = fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1})
		_ = fr.WriteData(1, false, []byte("abc"))
		_ = fr.WritePing(false, [8]byte{})
		_ = fr.WritePriority(1, xhttp2.PriorityParam{StreamDep: 1})
		_ = fr.WriteRSTStream(1, xhttp2.ErrCodeCancel)
		_ = fr.WriteGoAway(0, xhttp2.ErrCodeNo, nil)
	})
	srv := &Server{Handler: wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, r *wire.Request) {
		if w.WriteHead(&wire.Head{Status: 200, Length: -1}) != nil {
			return
		}
		if r.Body != nil {
			_, _ = io.Copy(w, r.Body)
			_ = w.Finish(r.Trailer())
			return
		}
		_, _ = w.Write([]byte(r.Target))
		_ = w.Finish(nil)
	}), MaxHeaderListSize: 1 << 14}
	f.Fuzz(func(t *testing.T, data []byte) {
		cl, sv := net.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = srv.ServeConn(context.Background(), sv, nil)
		}()
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			_, _ = io.Copy(io.Discard, cl)
		}()
		_ = cl.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(cl, xhttp2.ClientPreface)
		_, _ = cl.Write(data)
		_ = cl.Close()
		select {
		case <-ended: // all handlers have returned, too: ServeConn waits for them
		case <-time.After(10 * time.Second):
			t.Fatal("the connection did not end")
		}
		<-drained
	})
}
