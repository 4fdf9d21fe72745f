package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "0123456789abcdef"

// fakeRules is a rule set with one rule.
type fakeRules struct {
	mu    sync.Mutex
	rule  Rule
	chaos bool
}

func (f *fakeRules) List() []Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []Rule{f.rule}
}

func (f *fakeRules) Set(name string, on bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name != f.rule.Name {
		return false
	}
	f.rule.Enabled = on
	return true
}

func (f *fakeRules) SetChaos(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.chaos = on
}

func (f *fakeRules) Chaos() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.chaos
}

// fullOptions fills every field of every answer, so that a schema can be held
// against it.
func fullOptions() Options {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	exchanges, misses := NewRing[Exchange](8), NewRing[Miss](8)
	exchanges.Push(Exchange{ID: 1, At: at, Client: "127.0.0.1", Method: "GET", Scheme: "http", Host: "shop.test", Target: "/a?token=hidden", Proto: "HTTP/1.1", Status: 200, Source: "checkout#17", Rules: []string{"slow"}, Recorded: true})
	exchanges.Push(Exchange{ID: 2, Method: "POST", URL: "http://pay.test/b", Status: 503, Outcome: "fault", Source: "rule brown-out", Rules: []string{"brown-out"}})
	misses.Push(Miss{At: at, Method: "GET", URL: "http://shop.test/c?token=hidden", Nearest: "stub hello", Differences: []Difference{{"path", "/a", "/c"}}})
	return Options{
		Addr: "127.0.0.1:0", Token: token,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			_, _ = io.WriteString(w, "up 1\n")
		}),
		Status: func() Status {
			return Status{Version: "1", Mode: "replay", Seed: 1<<64 - 1, StartedAt: at, Listeners: []Listener{{"forward", "http://127.0.0.1:8080", ""}}, Cassettes: []string{"c"},
				Models: []Model{{Cassette: "c", Operations: []string{"GET shop.test/a"}, Discipline: "by load", InFlight: 2, InService: 2, Served: 7}}}
		},
		Ledger:    func() any { return map[string]any{"exchanges": 2} },
		Exchanges: exchanges,
		Misses:    misses,
		Rules:     &fakeRules{rule: Rule{Name: "slow tail/1", Place: "u.yaml:3:5", Enabled: true, Matched: 3, Fired: 2}, chaos: true},
		Link: func() Link {
			return Link{Engine: "netem", Directions: []LinkDirection{{Direction: "down", Conditions: "delay=40ms", Dropped: 3}},
				Classes: []LinkClass{{Name: "database", To: []string{"db.internal:5432"}, Moved: 2, Directions: []LinkDirection{{Direction: "up"}}}},
				Steps:   []LinkStep{{Name: "tunnel", During: []string{"1s..2s"}, InForce: true, Weight: 1}}}
		},
		ResetScenarios: func() int { return 3 },
	}
}

func handler(t testing.TB, o Options) http.Handler {
	t.Helper()
	return newHandler(o, "127.0.0.1")
}

// ask sends a request with the token, JSON and the right Host; header's pairs
// replace these, "" removes.
func ask(h http.Handler, method, target, body string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:9900"
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		switch name, value := header[i], header[i+1]; {
		case name == "Host":
			r.Host = value
		case value == "":
			r.Header.Del(name)
		default:
			r.Header.Set(name, value)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func detail(t *testing.T, resp *http.Response) string {
	t.Helper()
	var p problem
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		t.Fatalf("problem: %v", err)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" || p.Status != resp.StatusCode || p.Title != http.StatusText(p.Status) {
		t.Errorf("problem = %+v as %s with status %d", p, got, resp.StatusCode)
	}
	return p.Detail
}

func TestGuard(t *testing.T) {
	o := fullOptions()
	o.Hosts = []string{"Understudy.test"}
	h := handler(t, o)
	for _, tc := range []struct {
		name   string
		target string
		header []string
		want   int
	}{
		{"all right", "/v1/status", nil, 200},
		{"scheme without case", "/v1/status", []string{"Authorization", "bearer " + token}, 200},
		{"no token", "/v1/status", []string{"Authorization", ""}, 401},
		{"wrong token", "/v1/status", []string{"Authorization", "Bearer 0123456789abcdeF"}, 401},
		{"longer token", "/v1/status", []string{"Authorization", "Bearer " + token + "0"}, 401},
		{"basic", "/v1/status", []string{"Authorization", "Basic " + token}, 401},
		{"token in the query", "/v1/status?token=" + token, []string{"Authorization", ""}, 401},
		{"unknown path, no token", "/v1/x", []string{"Authorization", ""}, 401},
		{"unknown path", "/v1/x", nil, 404},
		{"metrics want it too", "/metrics", []string{"Authorization", ""}, 401},
		{"health does not", "/healthz", []string{"Authorization", ""}, 200},
		{"readiness does not", "/readyz", []string{"Authorization", ""}, 200},
		{"document does not", "/openapi.json", []string{"Authorization", ""}, 200},

		{"localhost", "/healthz", []string{"Host", "localhost:1"}, 200},
		{"localhost, dotted", "/healthz", []string{"Host", "LOCALHOST."}, 200},
		{"v6", "/healthz", []string{"Host", "[::1]:9900"}, 200},
		{"v6 without port", "/healthz", []string{"Host", "[::1]"}, 200},
		{"other loopback", "/healthz", []string{"Host", "127.9.9.9"}, 200},
		{"allowed name", "/healthz", []string{"Host", "understudy.TEST:9900"}, 200},
		{"rebound name", "/healthz", []string{"Host", "evil.test:9900"}, 421},
		{"name that begins alike", "/healthz", []string{"Host", "127.0.0.1.evil.test"}, 421},
		{"name that ends alike", "/healthz", []string{"Host", "evil.localhost"}, 421},
		{"another address", "/healthz", []string{"Host", "10.0.0.1:9900"}, 421},
		{"no host", "/healthz", []string{"Host", ""}, 421},
		{"host goes first", "/v1/status", []string{"Host", "evil.test", "Authorization", ""}, 421},

		{"own origin", "/v1/status", []string{"Origin", "http://127.0.0.1:9900"}, 200},
		{"other origin", "/v1/status", []string{"Origin", "http://evil.test"}, 403},
		{"other port", "/v1/status", []string{"Origin", "http://127.0.0.1:3000"}, 403},
		{"null origin", "/v1/status", []string{"Origin", "null"}, 403},
		{"https origin", "/v1/status", []string{"Origin", "https://127.0.0.1:9900"}, 403},
		{"cross-site fetch", "/healthz", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"own fetch", "/healthz", []string{"Sec-Fetch-Site", "same-origin"}, 200},
	} {
		resp := ask(h, http.MethodGet, tc.target, "", tc.header...)
		if resp.StatusCode != tc.want {
			t.Errorf("%s: GET %s %q = %d, want %d", tc.name, tc.target, tc.header, resp.StatusCode, tc.want)
		}
		if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers = %v, want no-store and nosniff", tc.name, resp.Header)
		}
		if tc.want >= 400 && detail(t, resp) == "" {
			t.Errorf("%s: the problem does not say what to do", tc.name)
		}
		if challenge := resp.Header.Get("WWW-Authenticate"); (tc.want == 401) != (challenge == `Bearer realm="understudy"`) {
			t.Errorf("%s: WWW-Authenticate = %q with %d", tc.name, challenge, tc.want)
		}
	}
}

func TestGuardWithRemoteAllowed(t *testing.T) {
	o := fullOptions()
	o.AllowRemote, o.OpenMetrics = true, true
	h := newHandler(o, "0.0.0.0")
	for host, want := range map[string]int{"10.0.0.1:9900": 200, "[2001:db8::1]:9900": 200, "evil.test": 421} {
		if got := ask(h, http.MethodGet, "/metrics", "", "Host", host, "Authorization", "").StatusCode; got != want {
			t.Errorf("GET /metrics on %s = %d, want %d", host, got, want)
		}
	}
}

func TestMethods(t *testing.T) {
	h := handler(t, fullOptions())
	for _, tc := range []struct{ method, path, allow string }{
		{"POST", "/healthz", "GET, HEAD"}, {"DELETE", "/v1/status", "GET, HEAD"}, {"GET", "/v1/chaos", "POST"},
		{"POST", "/v1/rules/x", "PUT"}, {"OPTIONS", "/v1/status", "GET, HEAD"}, {"TRACE", "/v1/rules", "GET, HEAD"},
	} {
		resp := ask(h, tc.method, tc.path, "")
		if got := resp.Header.Get("Allow"); resp.StatusCode != 405 || got != tc.allow {
			t.Errorf("%s %s = %d, Allow %q, want 405, %q", tc.method, tc.path, resp.StatusCode, got, tc.allow)
		}
		if got, want := detail(t, resp), "this path takes "+tc.allow; got != want {
			t.Errorf("%s %s: detail = %q, want %q", tc.method, tc.path, got, want)
		}
	}
	if got := ask(h, "HEAD", "/v1/status", "").StatusCode; got != 200 {
		t.Errorf("HEAD /v1/status = %d, want 200", got)
	}
}

func TestSwitches(t *testing.T) {
	o := fullOptions()
	rules := o.Rules.(*fakeRules)
	h := handler(t, o)
	const rule = "/v1/rules/slow%20tail%2F1"
	for _, tc := range []struct {
		method, path, body string
		header             []string
		want               int
		detail             string
	}{
		{"PUT", rule, `{"enabled": false}`, nil, 200, ""},
		{"PUT", rule, `{"enabled": false}`, []string{"Content-Type", "application/json; charset=utf-8"}, 200, ""},
		{"POST", "/v1/chaos", `{"enabled": false}`, nil, 200, ""},
		{"PUT", "/v1/rules/none", `{"enabled": true}`, nil, 404, `no rule is called "none": GET /v1/rules lists them`},
		{"PUT", rule, `{"enabled": true}`, []string{"Content-Type", "text/plain"}, 415, `send {"enabled": true} or {"enabled": false} with Content-Type: application/json`},
		{"PUT", rule, `{}`, nil, 400, `send {"enabled": true} or {"enabled": false}: enabled is missing`},
		{"PUT", rule, `{"enabled": true, "x": 1}`, nil, 400, `send {"enabled": true} or {"enabled": false}: unknown field "x"`},
		{"PUT", rule, `{"enabled": true}{}`, nil, 400, `send {"enabled": true} or {"enabled": false}: more follows the first value`},
		{"PUT", rule, `{"enabled": 1}`, nil, 400, ""},
		{"PUT", rule, `nonsense`, nil, 400, ""},
		{"PUT", rule, `{"enabled": true` + strings.Repeat(" ", maxBody) + `}`, nil, 413, `send {"enabled": true} or {"enabled": false}`},
	} {
		resp := ask(h, tc.method, tc.path, tc.body, tc.header...)
		if resp.StatusCode != tc.want {
			t.Errorf("%s %s %.40s = %d, want %d", tc.method, tc.path, tc.body, resp.StatusCode, tc.want)
			continue
		}
		if tc.want == 200 {
			continue
		}
		if got := detail(t, resp); tc.detail != "" && got != tc.detail {
			t.Errorf("%s %s %.40s: detail = %q, want %q", tc.method, tc.path, tc.body, got, tc.detail)
		}
	}
	if rules.rule.Enabled || rules.chaos {
		t.Errorf("rule, chaos = %v, %v, want both off", rules.rule.Enabled, rules.chaos)
	}
}

func TestExchangesQuery(t *testing.T) {
	h := handler(t, fullOptions())
	for query, want := range map[string][]uint64{
		"": {2, 1}, "limit=1": {2}, "method=GET": {1}, "status=503": {2}, "outcome=complete": {1}, "outcome=fault": {2},
		"source=checkout": {1}, "source=checkout%2317": {1}, "source=rule": {2}, "source=check": {}, "host=PAY.test": {2}, "rule=slow": {1}, "rule=slow&status=503": {},
	} {
		resp := ask(h, "GET", "/v1/exchanges?"+query, "")
		var got struct {
			Total     uint64
			Exchanges []Exchange
		}
		body, _ := io.ReadAll(resp.Body)
		if err := json.Unmarshal(body, &got); err != nil || got.Exchanges == nil || got.Total != 2 {
			t.Fatalf("GET ?%s = %s (%v)", query, body, err)
		}
		ids := []uint64{}
		for _, x := range got.Exchanges {
			ids = append(ids, x.ID)
		}
		if len(ids) != len(want) || len(ids) > 0 && ids[0] != want[0] {
			t.Errorf("GET ?%s = %v, want %v", query, ids, want)
		}
		if strings.Contains(string(body), "hidden") || strings.Contains(string(body), "null") {
			t.Errorf("GET ?%s = %s, want no query and no null", query, body)
		}
	}
	for query, want := range map[string]string{
		"limit=0": `limit: want 1 to 10000, got "0"`, "limit=x": `limit: want 1 to 10000, got "x"`, "status=ok": `status: want a number from 0 to 999, got "ok"`,
		"limit=1&limit=2": "give limit once", "colour=red": `unknown parameter "colour": this list takes limit, method, status, outcome, source, host, rule`,
	} {
		resp := ask(h, "GET", "/v1/exchanges?"+query, "")
		if got := detail(t, resp); resp.StatusCode != 400 || got != want {
			t.Errorf("GET ?%s = %d %q, want 400 %q", query, resp.StatusCode, got, want)
		}
	}
}

func TestNotReady(t *testing.T) {
	h := handler(t, Options{Token: token, Ready: func() error { return errors.New("draining: 3 exchanges left") }})
	resp := ask(h, "GET", "/readyz", "")
	if got := detail(t, resp); resp.StatusCode != 503 || got != "draining: 3 exchanges left" {
		t.Errorf("GET /readyz = %d %q, want 503 and why", resp.StatusCode, got)
	}
}

// A run that has nothing to tell answers all the same.
func TestEmptySources(t *testing.T) {
	h := handler(t, Options{Token: token})
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/status", "/v1/ledger", "/v1/exchanges", "/v1/misses", "/v1/rules"} {
		resp := ask(h, "GET", path, "")
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || strings.Contains(string(body), "null") {
			t.Errorf("GET %s = %d %s, want 200 without null", path, resp.StatusCode, body)
		}
	}
	if got := ask(h, "POST", "/v1/chaos", `{"enabled": false}`).StatusCode; got != 200 {
		t.Errorf("POST /v1/chaos = %d, want 200", got)
	}
}

func TestNewErrors(t *testing.T) {
	for _, tc := range []struct {
		o    Options
		want string
	}{
		{Options{Addr: "127.0.0.1:0", Token: "short"}, "admin: want a token of 16 characters or more, got 5"},
		{Options{Addr: "127.0.0.1:0", Token: token + " x"}, "admin: want a token of printable ASCII without spaces"},
		{Options{Addr: "0.0.0.0:0", Token: token}, "admin: listen on 0.0.0.0:0: other machines could reach it; set admin.allow_remote to allow that"},
		{Options{Addr: ":0", Token: token}, "admin: listen on :0: other machines could reach it; set admin.allow_remote to allow that"},
		{Options{Addr: "x", Token: token}, "admin: listen on x: address x: missing port in address"},
	} {
		if _, err := New(tc.o); err == nil || err.Error() != tc.want {
			t.Errorf("New(%s) = %v, want %s", tc.o.Addr, err, tc.want)
		}
	}
}

func TestRun(t *testing.T) {
	s, err := New(fullOptions())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(s.URL() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("GET /healthz = %d, want 200", resp.StatusCode)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if _, err := client.Get(s.URL() + "/healthz"); err == nil {
		t.Error("it still answers after Run returned")
	}
	if err := s.Close(); err == nil {
		t.Error("Run left the socket open")
	}
}

func TestToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "token")
	made, err := ReadToken(path)
	if err != nil || len(made) != 43 {
		t.Fatalf("ReadToken(missing) = %q, %v, want 43 characters", made, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v, want 0600", info.Mode(), err)
	}
	if again, err := ReadToken(path); err != nil || again != made {
		t.Errorf("ReadToken = %q, %v, want %q", again, err, made)
	}
	if other := NewToken(); other == made {
		t.Errorf("NewToken gave %q twice", other)
	}
	if err := os.WriteFile(path, []byte("short\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadToken(path); err == nil || err.Error() != "read admin token "+path+": want a token of 16 characters or more, got 5" {
		t.Errorf("ReadToken(short) = %v", err)
	}
	// What was readable by others must not stay so.
	if err := WriteToken(path, made); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode after WriteToken = %v, want 0600", info.Mode())
	}
}
