package upstream

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// origin is a net/http server that speaks the protocols named by mode: "h1",
// "h1s" (TLS), "h2" (TLS, both), "h2c" (cleartext, both).
type origin struct {
	*httptest.Server
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newOrigin(t testing.TB, mode string) *origin {
	t.Helper()
	o := &origin{conns: map[net.Conn]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proto", r.Proto)
		w.Header().Set("X-Host", r.Host)
		w.Header().Set("X-Cookie", strings.Join(r.Header["Cookie"], "|"))
		w.Header().Set("X-Names", names(r.Header))
		_, _ = io.WriteString(w, "hello")
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Coding", strings.Join(r.TransferEncoding, ","))
		w.Header().Set("Trailer", "X-Sum")
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", r.Trailer.Get("X-Up"))
		w.Header().Set(http.TrailerPrefix+"X-Late", "late")
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		w.WriteHeader(200)
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	o.Server = httptest.NewUnstartedServer(mux)
	o.Config.ConnState = func(c net.Conn, s http.ConnState) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if s == http.StateNew {
			o.conns[c] = true
		}
	}
	switch mode {
	case "h1":
		o.Start()
	case "h1s":
		o.StartTLS()
	case "h2":
		o.EnableHTTP2 = true
		o.StartTLS()
	case "h2c":
		o.Config.Protocols = new(http.Protocols)
		o.Config.Protocols.SetHTTP1(true)
		o.Config.Protocols.SetUnencryptedHTTP2(true)
		o.Start()
	}
	t.Cleanup(o.Close)
	return o
}

// names lists a client's field names, for what a transport may have added.
func names(h http.Header) string {
	var all []string
	for name := range h {
		all = append(all, name)
	}
	return strings.Join(all, ",")
}

func (o *origin) accepted() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns)
}

// transport trusts o and ends with the test.
func (o *origin) transport(t testing.TB) *Transport {
	tr := &Transport{}
	if o.Certificate() != nil {
		tr.RootCAs = x509.NewCertPool()
		tr.RootCAs.AddCert(o.Certificate())
	}
	t.Cleanup(func() { _ = tr.Close() })
	return tr
}

// req is a request to o, as a client with proto would have sent it.
func (o *origin) req(proto, method, path string, more ...fixtures.Field) *wire.Request {
	scheme, host, _ := strings.Cut(o.URL, "://")
	return &wire.Request{Proto: proto, Method: method, Scheme: scheme, Host: host, Target: path, Header: more}
}

// fetch does the exchange and reads its body.
func fetch(t testing.TB, tr *Transport, r *wire.Request) (*wire.Response, string) {
	t.Helper()
	res, err := tr.RoundTrip(context.Background(), r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.Target, err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: body: %v", r.Method, r.Target, err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatalf("%s %s: close: %v", r.Method, r.Target, err)
	}
	return res, string(b)
}

// hostStats is what is open to one host: connections, and those of them without an exchange.
type hostStats struct{ Open, Idle int }

// stats tells what is open; hosts without connections are left out.
func (t *Transport) stats() []hostStats {
	var all []hostStats
	for _, h := range t.all() {
		h.mu.Lock()
		s := hostStats{len(h.lines), len(h.idle)}
		for _, c := range h.h2 {
			if c.Open() {
				s.Open++
				if _, idle := c.Idle(); idle {
					s.Idle++
				}
			}
		}
		h.mu.Unlock()
		if s.Open > 0 {
			all = append(all, s)
		}
	}
	return all
}

// closeIdle closes the connections that carry no exchange.
func (t *Transport) closeIdle() {
	for _, h := range t.all() {
		h.reap(time.Time{})
	}
}
