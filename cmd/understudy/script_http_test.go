package main

import (
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptUpstream starts a server with known answers and gives a variable its URL, and
// VARIABLE_ADDR its address:
// upstream VARIABLE [CERTIFICATE-FILE]. With a file it speaks TLS, and its certificate is
// written there.
func scriptUpstream(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: upstream VARIABLE [CERTIFICATE-FILE]")
	}
	s := httptest.NewUnstartedServer(answers())
	if len(args) == 2 {
		s.StartTLS()
		cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), cert, 0o600))
	} else {
		s.Start()
	}
	ts.Setenv(args[0], s.URL)
	ts.Setenv(args[0]+"_ADDR", s.Listener.Addr().String())
	ts.Value(playersKey{}).(*players).servers[args[0]] = s
	ts.Defer(s.Close)
}

// scriptSilence shuts an upstream down: silence VARIABLE.
func scriptSilence(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: silence VARIABLE")
	}
	ts.Value(playersKey{}).(*players).servers[args[0]].Close()
}

// answers are what the upstream says.
func answers() http.Handler {
	m := http.NewServeMux()
	say := func(pattern, contentType, body string) {
		m.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			_, _ = io.WriteString(w, body)
		})
	}
	say("GET /hello", "text/plain", "hello from upstream\n")
	say("GET /json", "application/json", `{"n":1,"name":"understudy"}`)
	say("POST /login", "application/json", `{"access_token":"s3cret-token","user":"ann"}`)
	say("GET /stamped", "application/json", `{"ok":true}`)
	say("GET /binary", "image/png", "\x89PNG\r\n\x1a\n\x00\xff")
	say("GET /large", "application/octet-stream", strings.Repeat("\x00large", 4000))
	m.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "page %s\n", r.URL.Query().Get("n"))
	})
	m.HandleFunc("GET /status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.PathValue("code"))
		w.WriteHeader(code)
	})
	m.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	m.HandleFunc("GET /zipped", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "short when zipped\n")
		_ = z.Close()
	})
	m.HandleFunc("GET /events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for n := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", n+1)
			_ = http.NewResponseController(w).Flush()
		}
	})
	var n atomic.Int64
	m.HandleFunc("GET /count", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, n.Add(1)) })
	return m
}

// asking is what get and statuses take.
type asking struct {
	method, body, proxy, roots string
	headers                    []string
	url                        string
	rest                       []string
}

func parseAsking(ts *testscript.TestScript, args []string) *asking {
	var a asking
	f := flag.NewFlagSet("get", flag.ContinueOnError)
	f.StringVar(&a.method, "X", "", "")
	f.StringVar(&a.body, "d", "", "")
	f.StringVar(&a.proxy, "x", "", "")
	f.StringVar(&a.roots, "cacert", "", "")
	f.Func("H", "", func(h string) error { a.headers = append(a.headers, h); return nil })
	ts.Check(f.Parse(args))
	if f.NArg() == 0 {
		ts.Fatalf("want a URL")
	}
	a.url, a.rest = f.Arg(0), f.Args()[1:]
	if a.method == "" {
		a.method = "GET"
		if a.body != "" {
			a.method = "POST"
		}
	}
	return &a
}

// do asks on a connection of its own.
func (a *asking) do(ts *testscript.TestScript) (*http.Response, []byte, error) {
	t := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	if a.proxy != "" {
		u, err := url.Parse(a.proxy)
		ts.Check(err)
		t.Proxy = http.ProxyURL(u)
	}
	if a.roots != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(ts.ReadFile(a.roots)))
		t.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	req, err := http.NewRequest(a.method, a.url, strings.NewReader(a.body))
	ts.Check(err)
	for _, h := range a.headers {
		name, value, _ := strings.Cut(h, ":")
		req.Header.Add(name, strings.TrimSpace(value))
	}
	client := &http.Client{Transport: t, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// scriptGet asks once: get [-X METHOD] [-d BODY] [-H FIELD] [-x PROXY] [-cacert FILE] URL. The
// body is then in stdout, the head in stderr. Negated, there must be no whole answer.
func scriptGet(ts *testscript.TestScript, neg bool, args []string) {
	resp, body, err := parseAsking(ts, args).do(ts)
	if (err != nil) != neg {
		ts.Fatalf("get: error %v, body %q", err, body)
	}
	if err != nil {
		_, _ = fmt.Fprintln(ts.Stderr(), err)
		return
	}
	_, _ = ts.Stdout().Write(body)
	_, _ = fmt.Fprintf(ts.Stderr(), "%s %s\n", resp.Proto, resp.Status)
	names := make([]string, 0, len(resp.Header))
	for name := range resp.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range resp.Header[name] {
			_, _ = fmt.Fprintf(ts.Stderr(), "%s: %s\n", name, v)
		}
	}
}

// scriptStatuses asks N times in a row and prints the statuses on one line, "-" for no
// answer: statuses [as for get] URL N.
func scriptStatuses(ts *testscript.TestScript, neg bool, args []string) {
	a := parseAsking(ts, args)
	if neg || len(a.rest) != 1 {
		ts.Fatalf("usage: statuses URL N")
	}
	n, err := strconv.Atoi(a.rest[0])
	ts.Check(err)
	var all []string
	for range n {
		resp, _, err := a.do(ts)
		if err != nil {
			all = append(all, "-")
			continue
		}
		all = append(all, strconv.Itoa(resp.StatusCode))
	}
	_, _ = fmt.Fprintln(ts.Stdout(), strings.Join(all, " "))
}
