package gate

import (
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

func TestHTTP2Load(t *testing.T) {
	u, err := InProcessUpstream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Stop()
	o := LoadOptions{URL: u.HTTP2 + "/item/", Spread: 10, Roots: u.Roots, HTTP2: true, Header: []string{"X-Odd: 1"}, Connections: 2, Duration: 100 * time.Millisecond}
	if r, err := RunLoad(t.Context(), o); err != nil || r.Requests == 0 || r.Errors != 0 {
		t.Errorf("h2 = %+v, %v, want answers", r, err)
	}
	o.URL = u.TLS // speaks HTTP/1.1 only
	if r, err := RunLoad(t.Context(), o); err != nil || r.Requests != 0 || r.Errors == 0 {
		t.Errorf("h2 against HTTP/1.1 = %+v, %v, want errors", r, err)
	}
	o.HTTP2 = false
	if r, err := RunLoad(t.Context(), o); err != nil || r.Requests == 0 || r.Errors != 0 {
		t.Errorf("TLS = %+v, %v, want answers", r, err)
	}
	o.URL, o.Spread = u.URL+StreamPath, 0
	if r, err := RunLoad(t.Context(), o); err != nil || r.Requests == 0 || r.Errors != 0 || r.Latency.P50 < (StreamEvents-1)*StreamEvery {
		t.Errorf("stream = %+v, %v, want answers of 19ms and more", r, err)
	}
}

// served answers on one connection with frames, once the preface and a request
// have come.
func served(t *testing.T, frames func(fr *http2.Framer)) *client2 {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	go func() { // ends with the frames or with the connection
		defer theirs.Close()
		if _, err := theirs.Read(make([]byte, 4<<10)); err != nil { // preface and settings, one write
			return
		}
		fr := http2.NewFramer(theirs, theirs)
		if _, err := fr.ReadFrame(); err != nil {
			return
		}
		frames(fr)
	}()
	u, _ := url.Parse("https://h.test/")
	c, err := newClient2(ours, requestBlock(u, "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClient2ReadsAnswers(t *testing.T) {
	ok := []byte{0x88} // :status 200, from the static table
	for _, tt := range []struct {
		name   string
		frames func(fr *http2.Framer)
		keep   bool
		want   string // in the error; "" for none
	}{
		{"whole", func(fr *http2.Framer) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: ok, EndHeaders: true})
			fr.WriteData(1, true, []byte("hello"))
		}, true, ""},
		{"without a body", func(fr *http2.Framer) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: ok, EndHeaders: true, EndStream: true})
		}, true, ""},
		{"torn head", func(fr *http2.Framer) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true})
			fr.WriteContinuation(1, true, ok)
		}, true, ""},
		{"last one", func(fr *http2.Framer) {
			fr.WriteGoAway(1, http2.ErrCodeNo, nil)
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: ok, EndHeaders: true, EndStream: true})
		}, false, ""},
		{"refused", func(fr *http2.Framer) { fr.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, nil) }, false, "refused the stream"},
		{"reset", func(fr *http2.Framer) { fr.WriteRSTStream(1, http2.ErrCodeCancel) }, false, "stream reset"},
		{"status", func(fr *http2.Framer) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x8e}, EndHeaders: true, EndStream: true})
		}, true, "status 500"},
		{"cut short", func(fr *http2.Framer) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: ok, EndHeaders: true})
		}, false, "EOF"},
	} {
		keep, err := served(t, tt.frames).exchange(0)
		if keep != tt.keep || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: exchange = %v, %v, want %v, %q", tt.name, keep, err, tt.keep, tt.want)
		}
	}
}

func BenchmarkExchange2(b *testing.B) {
	u, err := InProcessUpstream(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer u.Stop()
	d, err := newDialer(LoadOptions{URL: u.HTTP2, Roots: u.Roots, HTTP2: true})
	if err != nil {
		b.Fatal(err)
	}
	conn, err := d.dial(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	c, err := d.speak(conn)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.exchange(0); err != nil {
			b.Fatal(err)
		}
	}
}
