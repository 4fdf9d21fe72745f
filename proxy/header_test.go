package proxy

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures"
)

func fields(pairs ...string) (h fixtures.Header) {
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestEndToEnd(t *testing.T) {
	for _, tc := range []struct {
		name     string
		in, want fixtures.Header
		edits    []fixtures.Edit
	}{
		{"nothing to do", fields("A", "1", "b", "2"), fields("A", "1", "b", "2"), nil},
		{"hop by hop", fields("Connection", "close, X-Own", "x-own", "1", "Keep-Alive", "5", "Proxy-Connection", "x", "Proxy-Authorization", "x", "Proxy-Authenticate", "x", "Upgrade", "h2c", "A", "1"), fields("A", "1"), nil},
		{"upgrade", fields("Connection", "keep-alive, Upgrade", "Upgrade", "websocket", "connection", "x"), fields("Connection", "Upgrade", "Upgrade", "websocket"), nil},
		{"te", fields("TE", "gzip, trailers", "Connection", "TE"), fields("TE", "trailers"), nil},
		{"te without trailers", fields("TE", "gzip"), fields(), nil},
		{"framing stays", fields("Transfer-Encoding", "chunked", "Content-Length", "3"), fields("Transfer-Encoding", "chunked", "Content-Length", "3"), nil},
		{"edits", fields("A", "1", "B", "2", "a", "3"), fields("A", "9", "C", "4", "C", "5"), []fixtures.Edit{
			{Op: fixtures.EditSet, Name: "a", Value: "9"}, {Op: fixtures.EditRemove, Name: "b"},
			{Op: fixtures.EditAdd, Name: "C", Value: "4"}, {Op: fixtures.EditAdd, Name: "C", Value: "5"}}},
	} {
		before := tc.in.Clone()
		room := fields("left", "over")
		for _, room := range []*fixtures.Header{nil, &room} {
			if got := endToEnd(tc.in, tc.edits, room); len(got)+len(tc.want) > 0 && !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%s: endToEnd(%v) = %v, want %v", tc.name, before, got, tc.want)
			}
		}
		if !reflect.DeepEqual(tc.in, before) {
			t.Errorf("%s: the header given was changed to %v", tc.name, tc.in)
		}
	}
}

func TestHeaderEditsOverTheWire(t *testing.T) {
	everyTransport(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "secret/1.0")
		_, _ = fmt.Fprint(w, r.Header.Get("X-Debug"), r.Header.Get("X-Rule"))
	}, func(t *testing.T, g *rig, c *http.Client, base string) {
		req, _ := http.NewRequest("GET", base, nil)
		req.Header.Set("X-Debug", "1")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if string(body) != "yes" || resp.Header.Get("Server") != "" || fmt.Sprint(resp.Header["X-Two"]) != "[1 2]" {
			t.Errorf("upstream saw %q, client %v", body, resp.Header)
		}
		timing := resp.Header.Get("Server-Timing")
		if !strings.Contains(timing, "own;dur=") || !strings.HasSuffix(timing, `rule;desc="a \"quoted\" rule"`) {
			t.Errorf("Server-Timing: %s", timing)
		}
		x := g.books.exchange(t, 1) // the record knows nothing of the rules' edits
		if x.Request.Header.Get("X-Debug") != "1" || x.Response.Header.Get("Server") == "" || x.Response.Header.Has("Server-Timing") {
			t.Errorf("recorded %v, %v", x.Request.Header, x.Response.Header)
		}
	}, tune(func(o *Options) { o.ServerTiming = true }), planning(always(fixtures.Plan{
		Fired:       []string{`a "quoted" rule`},
		EditRequest: []fixtures.Edit{{Op: fixtures.EditRemove, Name: "X-Debug"}, {Op: fixtures.EditSet, Name: "X-Rule", Value: "yes"}},
		EditResponse: []fixtures.Edit{{Op: fixtures.EditRemove, Name: "Server"}, {Op: fixtures.EditAdd, Name: "X-Two", Value: "1"},
			{Op: fixtures.EditAdd, Name: "X-Two", Value: "2"}},
	})))
}

// Behind a reverse door the upstream is asked by its own name, and its path
// leads every target.
func TestReverseAddressesTheUpstream(t *testing.T) {
	to := origin(t, "h1", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host+r.RequestURI) })
	g := newRig(t, to+"/base/")
	c, base := g.client("h1")
	want := strings.TrimPrefix(to, "http://") + "/base/a%20b?x=1"
	if resp := get(t, c, base+"/a%20b?x=1"); resp.body != want {
		t.Errorf("upstream saw %q, want %q", resp.body, want)
	}
	if x := g.books.exchange(t, 1); x.Request.URL() != "http://"+want {
		t.Errorf("recorded %q", x.Request.URL())
	}
	if got, _ := g.ask("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 501 ") {
		t.Errorf("CONNECT = %q, want 501", got)
	}
}
