package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/understudy-proxy/understudy/internal/nstest"
	"github.com/understudy-proxy/understudy/proxy/dial"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// TestPeerVanishes has a machine go that connections are kept to: packets to it are dropped
// from then on, and nothing says so.
func TestPeerVanishes(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	hello := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "hello")
	}), Protocols: new(http.Protocols)}
	hello.Protocols.SetHTTP1(true)
	hello.Protocols.SetUnencryptedHTTP2(true)
	var serving sync.WaitGroup
	there := nstest.Elsewhere(t, func() error {
		for _, at := range []string{"203.0.113.9:80", "192.0.2.2:80"} {
			ln, err := net.Listen("tcp", at)
			if err != nil {
				return err
			}
			serving.Go(func() { _ = hello.Serve(ln) })
		}
		return nil
	})
	t.Cleanup(func() {
		_ = hello.Close()
		serving.Wait()
	})
	vanish := func(add bool) {
		there(func() error {
			far, err := netlink.LinkByName("far")
			if err != nil {
				return err
			}
			addr, err := netlink.ParseAddr("203.0.113.9/32")
			if err != nil {
				return err
			}
			if add {
				return netlink.AddrAdd(far, addr)
			}
			return netlink.AddrDel(far, addr)
		})
	}
	const limit = 800 * time.Millisecond
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			d := &dial.Dialer{Lookup: func(context.Context, string) ([]net.IPAddr, error) {
				return []net.IPAddr{{IP: net.IPv4(203, 0, 113, 9)}, {IP: net.IPv4(192, 0, 2, 2)}}, nil
			}}
			tr := &Transport{DialContext: d.DialContext, UnacknowledgedTimeout: limit}
			defer tr.Close()
			ask := func(method string) (*wire.Response, time.Duration, error) {
				r := request(proto, method, "shop.test")
				r.Body, r.Length = io.NopCloser(bytes.NewReader([]byte("body"))), 4
				if method == "GET" {
					r.Body, r.Length = nil, 0
				}
				begun := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				res, err := tr.RoundTrip(ctx, r)
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
				return res, time.Since(begun), err
			}
			warm := func() {
				t.Helper()
				for range 2 {
					if res, _, err := ask("GET"); err != nil || res.Trace.RemoteNet.String() != "203.0.113.9:80" {
						t.Fatalf("RoundTrip = %+v, %v", res, err)
					}
				}
			}

			warm()
			vanish(false)
			_, took, err := ask("POST")
			if silent, ok := errors.AsType[*SilentError](err); !ok || !silent.Timeout() || took < limit {
				t.Errorf("POST = %v after %v, want a SilentError after %v or more", err, took, limit)
			}
			vanish(true)

			tr.closeIdle()
			warm()
			vanish(false)
			res, took, err := ask("GET")
			if err != nil || res.Trace.RemoteNet.String() != "192.0.2.2:80" || took < limit {
				t.Errorf("GET = %+v, %v after %v, want an answer by 192.0.2.2:80 after %v or more", res, err, took, limit)
			}
			vanish(true)
		})
	}

	t.Run("idle connections beside", func(t *testing.T) {
		tr := &Transport{UnacknowledgedTimeout: limit}
		defer tr.Close()
		h, err := tr.host(key{addr: "203.0.113.9:80"})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // as many exchanges at once would leave
			d, err := h.dial(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			res, err := h.first(t.Context(), d, request("HTTP/1.1", "GET", "203.0.113.9"))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			_, _ = io.Copy(io.Discard, res.Body)
		}
		if s := tr.stats(); len(s) != 1 || s[0].Idle != 3 {
			t.Fatalf("stats %+v, want 3 idle", s)
		}
		vanish(false)
		ctx, cancel := context.WithTimeout(t.Context(), limit*3/4) // an impatient client
		defer cancel()
		if _, err := tr.RoundTrip(ctx, request("HTTP/1.1", "GET", "203.0.113.9")); err == nil {
			t.Fatal("answered by who is gone")
		}
		if s := tr.stats(); len(s) > 0 && s[0].Idle > 0 {
			t.Errorf("stats %+v, want none idle: each would cost a client its patience", s)
		}
		vanish(true)
	})
}

// An upstream that thinks, or does not read what it is sent, is there all the same.
func TestSlowIsNotSilent(t *testing.T) {
	const limit = 400 * time.Millisecond
	addr := listen(t, func(_ int32, nc net.Conn) {
		r := bufio.NewReader(nc)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		time.Sleep(4 * limit)
		_, _ = io.Copy(io.Discard, req.Body)
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	for name, size := range map[string]int{"thinks": 0, "does not read": 32 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := &Transport{UnacknowledgedTimeout: limit}
			defer tr.Close()
			r := request("HTTP/1.1", "POST", addr)
			r.Body, r.Length = bytes.NewReader(make([]byte, size)), int64(size)
			res, err := tr.RoundTrip(t.Context(), r)
			if err != nil {
				t.Fatalf("RoundTrip = %v, want an answer", err)
			}
			_ = res.Body.Close()
		})
	}
}

func TestSilence(t *testing.T) {
	const limit = 20 * time.Second
	begin := time.Now()
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	var s silence
	for i, look := range []struct {
		now     int
		waiting bool
		heard   int
		want    time.Duration
	}{
		{100, false, 10, 0},
		{101, true, 10, 0}, // sent just now, after a rest
		{102, false, 102, 0},
		{103, true, 102, 0},
		{104, true, 102, time.Second},
		{107, true, 105, 0}, // something came, and other bytes are under way since who knows when
		{110, true, 105, 3 * time.Second},
		{111, false, 111, 0},
		{112, true, 111, 0},
		{172, true, 113, 0}, // we were stopped for a minute, and have sent just now
		{174, true, 113, 2 * time.Second},
		{234, true, 113, 0}, // the whole machine was
		{236, true, 113, 2 * time.Second},
	} {
		if got := s.saw(at(look.now), look.waiting, at(look.heard), limit); got != look.want {
			t.Errorf("look %d: silent for %v, want %v", i, got, look.want)
		}
	}
}
