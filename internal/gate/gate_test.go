package gate

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The binary of the tests plays the hidden subcommands.
func init() {
	var err error
	switch os.Getenv("GATE_TEST_ROLE") {
	case "load":
		err = LoadMain(context.Background(), os.Stdin, os.Stdout)
	case "upstream":
		err = UpstreamMain(context.Background(), os.Stdin, os.Stdout, UpstreamOptions{})
	default:
		return
	}
	if err != nil {
		io.WriteString(os.Stderr, err.Error()+"\n")
		os.Exit(1)
	}
	os.Exit(0)
}

func role(name string) []string {
	return []string{"/usr/bin/env", "GATE_TEST_ROLE=" + name, os.Args[0]}
}

// reverse is a scenario with net/http's reverse proxy in this process.
func reverse(name string) Scenario {
	return Scenario{Name: name, Start: func(_ context.Context, up *Upstream, _ bool) (Endpoint, func() error, error) {
		u, err := url.Parse(up.URL)
		if err != nil {
			return Endpoint{}, nil, err
		}
		transport := &http.Transport{MaxIdleConnsPerHost: 64}
		proxy := httputil.NewSingleHostReverseProxy(u)
		proxy.Transport = transport
		proxy.ErrorLog = log.New(io.Discard, "", 0) // clients that leave are none of the test's output
		server := httptest.NewServer(proxy)
		return Endpoint{URL: server.URL, PID: os.Getpid()}, func() error {
			server.Close()
			transport.CloseIdleConnections()
			return nil
		}, nil
	}}
}

func TestRunEndToEnd(t *testing.T) {
	var said []string
	r, err := Run(t.Context(), Options{
		Scenarios:   []Scenario{reverse("reverse")},
		Connections: []int{2}, Block: 80 * time.Millisecond, Pairs: 4, MaxPairs: 8,
		Budget:   &Budget{Scenarios: map[string]ScenarioBudget{"reverse": {Limits: Limits{"added_p50": {Value: float64(time.Hour)}}}}},
		Progress: func(line string) { said = append(said, line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	sr := &r.Scenarios[0]
	if r.Verdict != Pass || sr.Errors != 0 || sr.Requests == 0 || sr.Pairs < 4 {
		t.Errorf("report = %+v, want a pass", sr)
	}
	if m := metric(t, sr, "added_p50"); !m.Measured || m.Low > m.Estimate || m.Estimate > m.High {
		t.Errorf("added_p50 = %+v", m)
	}
	if len(said) < 3 {
		t.Errorf("progress = %q", said)
	}
}

func TestProcessesOfTheirOwn(t *testing.T) {
	if _, err := os.Stat("/usr/bin/env"); err != nil {
		t.Skip("no env command to start the roles with")
	}
	u, err := CommandUpstream(role("upstream")...)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	load, stop := CommandLoader(role("load")...)
	for range 2 { // one process, several loads
		r, err := load(t.Context(), LoadOptions{URL: u.URL, Connections: 2, Duration: 150 * time.Millisecond, PID: os.Getpid()})
		if err != nil || r.Requests == 0 || r.Errors != 0 || r.Latency.P50 <= 0 || r.Throughput() <= 0 || len(r.Curve) != len(CurveAt) {
			t.Errorf("load = %+v, %v, want answers", r, err)
		}
		if runtime.GOOS == "linux" && (r.NoCPU != "" || r.RSS == 0) {
			t.Errorf("load: CPU %q, RSS %d of this process", r.NoCPU, r.RSS)
		}
	}
	if _, err := load(t.Context(), LoadOptions{URL: "ftp://x"}); err == nil || !strings.Contains(err.Error(), "want an http or https URL") {
		t.Errorf("load = %v, want the load's own words", err)
	}
	own, pid, end, err := StartLoader(t.Context(), append(os.Environ(), "GATE_TEST_ROLE=load"), os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	r, err := own(t.Context(), LoadOptions{URL: u.URL, Connections: 1, Duration: 50 * time.Millisecond, PID: pid})
	if err != nil || r.Requests == 0 || r.Errors != 0 || runtime.GOOS == "linux" && r.CPU <= 0 {
		t.Errorf("load of its own process = %+v, %v, want answers and its CPU time", r, err)
	}
	if err := errors.Join(end(), stop(), u.Stop()); err != nil {
		t.Error(err)
	}
}

// A way may bring the load that goes it, and its own connections are what is measured.
func TestEndpointsOwnLoad(t *testing.T) {
	s := reverse("own")
	start, loads := s.Start, 0
	s.Start = func(ctx context.Context, up *Upstream, counting bool) (Endpoint, func() error, error) {
		at, stop, err := start(ctx, up, counting)
		at.Load = func(ctx context.Context, o LoadOptions) (LoadResult, error) {
			loads++
			if o.URL != at.URL {
				t.Errorf("the way's own load is sent to %s, want %s", o.URL, at.URL)
			}
			return RunLoad(ctx, o)
		}
		return at, stop, err
	}
	direct := 0
	r, err := Run(t.Context(), Options{Scenarios: []Scenario{s}, Connections: []int{1}, Block: 40 * time.Millisecond, Pairs: 4, MaxPairs: 4,
		Load: func(ctx context.Context, o LoadOptions) (LoadResult, error) { direct++; return RunLoad(ctx, o) }})
	if err != nil {
		t.Fatal(err)
	}
	// A warm-up for the rate, then two halves of a block in each of four rounds. What is a new
	// process in each is warmed up there; the other side has the A/A check besides, twice.
	const halves = 4 * 2
	if wantOwn, wantOther := 1+4+halves, 1+halves+2*halves; loads != wantOwn || direct != wantOther || r.Scenarios[0].Requests == 0 {
		t.Errorf("%d loads of its own and %d others, want %d and %d", loads, direct, wantOwn, wantOther)
	}
}

// What this machine cannot do is said, and fails nothing.
func TestSkipped(t *testing.T) {
	s := Scenario{Name: "far", Start: func(context.Context, *Upstream, bool) (Endpoint, func() error, error) {
		return Endpoint{}, nil, &CannotError{errors.New("there is no moon")}
	}}
	r, err := Run(t.Context(), Options{Scenarios: []Scenario{s}, Connections: []int{1, 2}, Block: 20 * time.Millisecond, Pairs: 4, MaxPairs: 4})
	if err != nil || len(r.Scenarios) != 0 || len(r.Skipped) != 1 || r.Skipped[0] != (Skipped{"far", "there is no moon"}) || r.Verdict != NotJudged {
		t.Fatalf("Run = %+v, %v, want far skipped once", r, err)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "\nskipped: far: there is no moon\n") {
		t.Errorf("%v, report:\n%s", err, text.String())
	}
}

func TestRunReportsWhatBroke(t *testing.T) {
	boom := errors.New("boom")
	o := func(s Scenario) Options {
		return Options{Scenarios: []Scenario{s}, Connections: []int{2}, Block: 20 * time.Millisecond, Pairs: 4, MaxPairs: 4}
	}
	start := Scenario{Name: "s", Start: func(context.Context, *Upstream, bool) (Endpoint, func() error, error) { return Endpoint{}, nil, boom }}
	if _, err := Run(t.Context(), o(start)); !errors.Is(err, boom) || !strings.Contains(err.Error(), "scenario s: start proxy") {
		t.Errorf("Run = %v, want boom of the start", err)
	}
	stop := reverse("s")
	good := stop.Start
	stop.Start = func(ctx context.Context, up *Upstream, counting bool) (Endpoint, func() error, error) {
		at, end, err := good(ctx, up, counting)
		return at, func() error { return errors.Join(end(), boom) }, err
	}
	if _, err := Run(t.Context(), o(stop)); !errors.Is(err, boom) || !strings.Contains(err.Error(), "stop proxy") {
		t.Errorf("Run = %v, want boom of the stop", err)
	}
	// A proxy that serves the warm-up and then breaks fails; it is no error.
	n := 0
	broken := Scenario{Name: "s", Start: func(context.Context, *Upstream, bool) (Endpoint, func() error, error) {
		return Endpoint{URL: "http://proxy.invalid"}, func() error { return nil }, nil
	}}
	breaks := o(broken)
	breaks.Load = func(_ context.Context, lo LoadOptions) (LoadResult, error) {
		r := LoadResult{Requests: 100, Elapsed: lo.Duration}
		r.Latency.P50, r.Latency.P99 = time.Millisecond, time.Millisecond
		if lo.URL == "http://proxy.invalid" {
			if n++; n > 1 {
				r.Errors, r.FirstError = 1, "reset"
			}
		}
		return r, nil
	}
	r, err := Run(t.Context(), breaks)
	if err != nil || r.Verdict != Fail || r.Scenarios[0].FirstError != "reset" {
		t.Errorf("Run = %+v, %v, want fail for the reset", r, err)
	}
}

func TestLoadGoesThroughAForwardProxy(t *testing.T) {
	forward := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			up, err := net.Dial("tcp", r.Host)
			if err != nil {
				w.WriteHeader(502)
				return
			}
			down, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				up.Close()
				return
			}
			io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
			go func() { io.Copy(up, down); up.Close() }() // ends with the client
			io.Copy(down, up)
			down.Close()
			return
		}
		if r.URL.Host != "made-up.test" {
			w.WriteHeader(400)
			return
		}
		io.WriteString(w, "absolute form")
	}))
	defer forward.Close()
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "tls") }))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are to fail
	secure.StartTLS()
	defer secure.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	base := LoadOptions{Connections: 2, Duration: 150 * time.Millisecond}
	for name, o := range map[string]LoadOptions{
		"plain":  {URL: "http://made-up.test/x", ProxyURL: forward.URL},
		"tunnel": {URL: secure.URL, ProxyURL: forward.URL, Roots: ca},
		"tls":    {URL: secure.URL, Roots: ca},
		"open":   {URL: secure.URL, Roots: ca, Rate: 200},
	} {
		o.Connections, o.Duration = base.Connections, base.Duration
		if r, err := RunLoad(t.Context(), o); err != nil || r.Requests == 0 || r.Errors != 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for name, o := range map[string]LoadOptions{
		"other scheme":   {URL: "ftp://x/"},
		"no host":        {URL: "http:///x"},
		"https proxy":    {URL: "http://x/", ProxyURL: "https://y"},
		"no certificate": {URL: "https://x/", Roots: "x"},
		"torn field":     {URL: "http://x/", Header: []string{"A: b\r\nC: d"}},
		"no field":       {URL: "http://x/", Header: []string{"A"}},
		"h2 by a proxy":  {URL: "http://x/", ProxyURL: forward.URL, HTTP2: true},
	} {
		o.Connections, o.Duration = base.Connections, base.Duration
		if _, err := RunLoad(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// An untrusted upstream is an error of the requests, not a quiet success.
	base.URL = secure.URL
	if r, err := RunLoad(t.Context(), base); err != nil || r.Requests != 0 || !strings.Contains(r.FirstError, "certificate") {
		t.Errorf("untrusted: %+v, %v, want certificate errors", r, err)
	}
}

func TestCommandsThatFail(t *testing.T) {
	if _, err := exec.LookPath("false"); err != nil {
		t.Skip("no false command")
	}
	load, stop := CommandLoader("false")
	if _, err := load(t.Context(), LoadOptions{}); err == nil || !strings.Contains(err.Error(), "run false") {
		t.Errorf("CommandLoader = %v", err)
	}
	if err := stop(); err != nil {
		t.Errorf("stop of what has ended = %v", err)
	}
	if _, err := CommandUpstream("false")(t.Context()); err == nil || !strings.Contains(err.Error(), "run false") {
		t.Errorf("CommandUpstream = %v", err)
	}
	if err := LoadMain(t.Context(), strings.NewReader("{"), io.Discard); err == nil {
		t.Error("LoadMain with torn options: no error")
	}
}
