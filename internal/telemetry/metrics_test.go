package telemetry

import (
	"bufio"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

var update = flag.Bool("update", false, "rewrite the goldens")

func scrape(t testing.TB, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("GET /metrics = %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func sample() *Exchange {
	return &Exchange{
		Method: "POST", Scheme: "https", Proto: "HTTP/2.0", Path: "/orders/17/lines?card=4711", Status: 503,
		UpstreamHost: "pay.test", UpstreamPort: "443", Source: "upstream",
		Duration: 60 * time.Millisecond, Upstream: 20 * time.Millisecond, Injected: 40 * time.Millisecond, Own: 80 * time.Microsecond,
		Paced: 7 * time.Millisecond, Delayed: true, DelayError: 30 * time.Microsecond,
		Stages:       fixtures.OwnTimes{fixtures.StageRead: 20 * time.Microsecond, fixtures.StageSend: 60 * time.Microsecond},
		RequestBytes: 300, ResponseBytes: 2000, Fired: []string{"slow tail"},
	}
}

var own = regexp.MustCompile(`^(# (HELP|TYPE) )?(http_|understudy_)`)

// The names and labels are what dashboards are built on: a change of this golden
// breaks them.
func TestGolden(t *testing.T) {
	m := NewMetrics(Options{Version: "1.2.3", Revision: "abc", Recorder: func() RecorderStats {
		return RecorderStats{QueueExchanges: 1, QueueBytes: 2, Written: 3, WrittenBytes: 4, Dropped: 5}
	}, Link: func() (LinkStats, bool) {
		return LinkStats{map[LinkPart]LinkCounters{{"", "down"}: {1, 2, 3, 4, 5}, {"database", "up"}: {6, 7, 8, 9, 10}},
			map[string]uint64{"database": 11}, map[string]float64{"tunnel": 0.5}}, true
	}})
	m.Begin("POST", "https")
	m.Begin("POST", "https")
	m.Observe(sample())
	m.Observe(&Exchange{Method: "BREW", Scheme: "http", Proto: "HTTP/1.1", Path: "/pot", Outcome: "miss", ErrorType: "miss", Source: ""})
	m.Connection("captured")
	m.Connection("eaten")
	m.Reload(true)
	m.Reload(false)
	m.StubsReload(true)
	var b strings.Builder
	for line := range strings.Lines(scrape(t, m)) {
		if own.MatchString(line) {
			b.WriteString(regexp.MustCompile(`goversion="[^"]*"`).ReplaceAllString(line, `goversion="GO"`))
		}
	}
	golden := filepath.Join("testdata", "metrics.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("metrics =\n%s\nwant\n%s", b.String(), want)
	}
	if strings.Contains(b.String(), "4711") || strings.Contains(b.String(), "/17") {
		t.Error("a raw path or query got into the metrics")
	}
}

// docs/admin.md names every metric of ours and nothing else.
func TestMetricsAreInTheGuide(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "admin.md"))
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "metrics.golden"))
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(string(golden), -1) {
		served[m[1]] = true
		if !strings.Contains(string(guide), "`"+m[1]+"`") {
			t.Errorf("docs/admin.md lacks %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`((?:http_(?:server|client)|understudy)_[a-z_]+)`").FindAllStringSubmatch(string(guide), -1) {
		if !served[m[1]] {
			t.Errorf("docs/admin.md has %s, which is not served", m[1])
		}
	}
}

// A scanner, or a load test with random input, must not grow the metrics.
func TestCardinalityIsBounded(t *testing.T) {
	m := NewMetrics(Options{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 5000 {
				n := i*4 + g
				m.Observe(&Exchange{
					Method: fmt.Sprint("M", n), Scheme: fmt.Sprint(n), Proto: fmt.Sprint(n), Path: "/" + word(n), Status: n%1200 - 100,
					ErrorType: fmt.Sprint("e", n), UpstreamHost: word(n) + "\xff", UpstreamPort: fmt.Sprint(n),
					Outcome: fmt.Sprint(n), Source: fmt.Sprint(n), Fired: []string{word(n) + "\xff"},
				})
				m.Connection(fmt.Sprint(n))
				m.Begin(fmt.Sprint(n), fmt.Sprint(n))
			}
		})
	}
	wg.Wait()
	series := map[string]int{}
	lines := bufio.NewScanner(strings.NewReader(scrape(t, m)))
	for lines.Scan() {
		if name, _, ok := strings.Cut(lines.Text(), "{"); ok && !strings.HasSuffix(name, "_bucket") {
			series[name]++
		}
	}
	for name, limit := range map[string]int{
		"http_server_request_duration_seconds_count": maxHandles + 1,
		"http_client_request_duration_seconds_count": maxHandles + 1,
		"understudy_exchanges_total":                 (len(outcomes) + 1) * (len(sources) + 1),
		"understudy_rule_fired_total":                maxRules + 1,
		"understudy_connections_total":               len(fates) + 1,
		"http_server_active_requests":                1,
	} {
		if got := series[name]; got > limit || got == 0 {
			t.Errorf("%s has %d series, want 1 to %d", name, got, limit)
		}
	}
	// Beyond the bound each is still counted once.
	if got := m.served.routes.get([]byte("/never-seen")); got != overflow {
		t.Errorf("route beyond the bound = %q, want %q", got, overflow)
	}
	if n := len(m.served.admitted); n > maxHandles+(len(outcomes)+1)*(len(sources)+1) {
		t.Errorf("%d label sets are kept, want no more than %d", n, maxHandles)
	}
}

// word is a name of letters only, different for each n.
func word(n int) string {
	var b []byte
	for ; n > 0 || len(b) == 0; n /= 26 {
		b = append(b, byte('a'+n%26))
	}
	return string(b)
}

func TestRoute(t *testing.T) {
	for path, want := range map[string]string{
		"/":                              "/",
		"/v1/users":                      "/v1/users",
		"/v1/users/17":                   "/v1/users/{id}",
		"/users/17/orders/ORD-00017?x=1": "/users/{id}/orders/{id}",
		"/a?token=secret":                "/a",
		"/?q":                            "/",
		"/f81d4fae-7dec-11d0-a765-00a0c91e6bf6/x": "/{id}/x",
		"/commit/9f86d081":                        "/commit/{id}",
		"/deadbeef":                               "/deadbeef",
		"/report/2024-05-01":                      "/report/{id}",
		"/x7gh2k":                                 "/{id}",
		"/oauth2/token":                           "/oauth2/token",
		"/api/.well-known/openid-configuration":   "/api/.well-known/openid-configuration",
		"/u/jane%40example.com":                   "/u/{id}",
		"/u/jane@example.com":                     "/u/{id}",
		"/" + strings.Repeat("a", 41):             "/{id}",
		"/a//b/":                                  "/a//b/",
		"/a/b/c/d/e/f/g/h/i/j":                    "/a/b/c/d/e/f/g/h/…",
		"*":                                       "other",
		"example.com:443":                         "other",
		"":                                        "other",
	} {
		if got := Route(path); got != want {
			t.Errorf("Route(%q) = %q, want %q", path, got, want)
		}
	}
}

func FuzzRoute(f *testing.F) {
	f.Add("/users/17?x=y")
	f.Add("//\xff/%20/")
	f.Fuzz(func(t *testing.T, path string) {
		route := Route(path)
		if strings.ContainsAny(route, "?#%@=") && route != overflow {
			t.Errorf("Route(%q) = %q, which holds data", path, route)
		}
		// A route is its own route, but for the placeholder's braces.
		if again := Route(strings.ReplaceAll(route, "{id}", "1")); strings.HasPrefix(route, "/") && !strings.Contains(route, "…") && again != route {
			t.Errorf("Route(%q) = %q, and again %q", path, route, again)
		}
	})
}

func TestObserveAllocatesNothing(t *testing.T) {
	m := NewMetrics(Options{})
	x := sample()
	if n := testing.AllocsPerRun(1000, func() { m.Observe(x) }); n != 0 {
		t.Errorf("Observe allocates %v times, want never", n)
	}
}

// What upstreams answered is told apart by the labels that it has, and told once where
// they are the same: a scrape fails otherwise.
func TestUpstreamSeriesAreSummed(t *testing.T) {
	m := NewMetrics(Options{})
	for _, x := range []Exchange{{Status: 200}, {Status: 200}, {}, {Status: 1200}, {Status: 500}, {Status: 500, ErrorType: "dial"}} {
		x.Method, x.Scheme, x.Proto, x.UpstreamHost, x.UpstreamPort = "GET", "http", "HTTP/1.1", "a.test", "80"
		m.Observe(&x)
	}
	m.Observe(&Exchange{UpstreamHost: "\xff", UpstreamPort: "\xfe", Fired: []string{"\xff", "\xff"}})
	m.Fired("\xff")
	text := scrape(t, m)
	for _, want := range []string{
		`_count{error_type="",http_request_method="GET",http_response_status_code="200",network_protocol_version="1.1",server_address="a.test",server_port="80",url_scheme="http"} 2`,
		`_count{error_type="",http_request_method="GET",http_response_status_code="",network_protocol_version="1.1",server_address="a.test",server_port="80",url_scheme="http"} 2`,
		`_count{error_type="500",http_request_method="GET",http_response_status_code="500",network_protocol_version="1.1",server_address="a.test",server_port="80",url_scheme="http"} 1`,
		`_count{error_type="dial",http_request_method="GET",http_response_status_code="500",network_protocol_version="1.1",server_address="a.test",server_port="80",url_scheme="http"} 1`,
		`_count{error_type="",http_request_method="_OTHER",http_response_status_code="",network_protocol_version="other",server_address="other",server_port="other",url_scheme="other"} 1`,
	} {
		if !strings.Contains(text, "http_client_request_duration_seconds"+want+"\n") {
			t.Errorf("the scrape lacks http_client_request_duration_seconds%s", want)
		}
	}
	for _, want := range []string{"understudy_upstream_seconds_count 7\n", "understudy_rule_fired_total{rule=\"other\"} 3\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the scrape lacks %s", want)
		}
	}
}

// However many exchanges are added up at once, each counts in its own series.
func TestExchangesInARow(t *testing.T) {
	all := []Exchange{*sample()}
	for _, change := range []func(*Exchange){
		func(e *Exchange) { e.Path = "/other" },
		func(e *Exchange) { e.Status = 404 },
		func(e *Exchange) { e.Method = "GET" },
		func(e *Exchange) { e.Scheme = "http" },
		func(e *Exchange) { e.Proto = "HTTP/1.1" },
		func(e *Exchange) { e.UpstreamHost = "ship.test" },
		func(e *Exchange) { e.UpstreamHost = "" },
		func(e *Exchange) { e.UpstreamPort = "8443" },
		func(e *Exchange) { e.Outcome = "client" },
		func(e *Exchange) { e.Source = "stub" },
		func(e *Exchange) { e.ErrorType = "dial" },
	} {
		e := *sample()
		change(&e)
		all = append(all, e, *sample(), *sample())
	}
	alone, together := NewMetrics(Options{}), NewMetrics(Options{})
	observe := func(m *Metrics, after func()) {
		for i := range all {
			m.Begin(all[i].Method, all[i].Scheme)
			m.Observe(&all[i])
			after()
		}
	}
	observe(together, func() {})
	observe(alone, func() { scrape(t, alone) }) // adds up what there is
	lines := func(m *Metrics) []string {
		var own []string
		for line := range strings.Lines(scrape(t, m)) {
			if strings.HasPrefix(line, "http_") || strings.HasPrefix(line, "understudy_") {
				own = append(own, line)
			}
		}
		return own
	}
	if got, want := lines(together), lines(alone); !slices.Equal(got, want) {
		t.Errorf("added up at once:\n%s\none by one:\n%s", strings.Join(got, ""), strings.Join(want, ""))
	}
}

func BenchmarkObserve(b *testing.B) {
	m := NewMetrics(Options{})
	x := sample()
	b.ReportAllocs()
	for b.Loop() {
		m.Observe(x)
	}
}

func BenchmarkObserveParallel(b *testing.B) {
	m := NewMetrics(Options{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		x := sample()
		for pb.Next() {
			m.Observe(x)
		}
	})
}

func BenchmarkRoute(b *testing.B) {
	var scratch [128]byte
	b.ReportAllocs()
	for b.Loop() {
		appendRoute(scratch[:0], "/v1/users/f81d4fae-7dec-11d0-a765-00a0c91e6bf6/orders/17")
	}
}
