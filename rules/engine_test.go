package rules

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

func engineWith(t testing.TB, seed uint64, text string) *Engine {
	t.Helper()
	e := NewEngine(seed, func(rule string, err error) { t.Errorf("rule %q went wrong: %v", rule, err) })
	e.Swap(mustParse(t, text))
	return e
}

func get(url string) *Input {
	r := &fixtures.Request{Proto: "HTTP/1.1", Method: "GET", Scheme: "http", Host: "shop.test:8080", Target: url}
	return &Input{Request: r, Client: "10.0.0.7", InFlight: 1}
}

const mixed = `
rules:
  - name: tail
    when: request.path startsWith "/a" && rand() < 0.5
    chance: 0.5
    delay: lognormal("80ms", "900ms")
  - name: jitter
    delay: {before: first_byte, is: 'uniform("1ms", "9ms")'}
  - name: bits
    chance: 30%
    fault: {corrupt: 1%}
`

func TestSameSeedSamePlan(t *testing.T) {
	const calls = 60
	targets := []string{"/a", "/b", "/a?x=1", "/c", "/ab"}
	plans := func(seed uint64, workers int) map[string][]fixtures.Plan {
		e := engineWith(t, seed, mixed)
		var mu sync.Mutex
		var wg sync.WaitGroup
		all := map[string][]fixtures.Plan{}
		for w := range workers {
			wg.Go(func() {
				for i, target := range targets {
					if i%workers != w { // each identity is one worker's, so its order is kept
						continue
					}
					for range calls {
						p := e.Plan(get(target))
						mu.Lock()
						all[target] = append(all[target], p)
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		return all
	}
	alone, together, other := plans(7, 1), plans(7, len(targets)), plans(8, 1)
	if !reflect.DeepEqual(alone, together) {
		t.Error("Plan(seed=7) depends on what runs beside it, want equal plans for equal calls")
	}
	if reflect.DeepEqual(alone, other) {
		t.Error("Plan(seed=7) and Plan(seed=8) are equal, want different chaos")
	}
	if p := alone["/a"]; reflect.DeepEqual(p[0], p[1]) && reflect.DeepEqual(p[1], p[2]) {
		t.Errorf("Plan for the 1st, 2nd and 3rd call = %+v each, want draws of their own", p[0])
	}
}

// A rule that is added draws nothing away from the others.
func TestDrawsAreIndependentOfOtherRules(t *testing.T) {
	one := engineWith(t, 7, "rules: [{name: a, chance: 0.5, fault: {status: 500}}]")
	two := engineWith(t, 7, "rules: [{name: b, chance: 0.5, delay: 1ms}, {name: a, chance: 0.5, fault: {status: 500}}]")
	for i := range 200 {
		p, q := one.Plan(get("/")), two.Plan(get("/"))
		if (p.Fault == nil) != (q.Fault == nil) {
			t.Fatalf("call %d: fault by rule a = %v alone, %v beside rule b", i, p.Fault != nil, q.Fault != nil)
		}
	}
}

func TestChanceIsBinomial(t *testing.T) {
	const n = 20_000
	for _, want := range []float64{0.01, 0.05, 0.5, 0.9} {
		for _, spread := range []bool{true, false} {
			e := engineWith(t, 42, fmt.Sprintf("rules: [{name: a, chance: %v, delay: 1ms}]", want))
			fired := 0
			for i := range n {
				target := "/"
				if spread {
					target = fmt.Sprint("/", i)
				}
				fired += len(e.Plan(get(target)).Fired)
			}
			// Four standard deviations of a binomial distribution; the seed is fixed.
			bound := 4 * math.Sqrt(n*want*(1-want))
			if math.Abs(float64(fired)-n*want) > bound {
				t.Errorf("chance %v over %d calls (spread %v) fired %d times, want %.0f ± %.0f", want, n, spread, fired, n*want, bound)
			}
		}
	}
}

func TestDuringEveryCount(t *testing.T) {
	e := engineWith(t, 1, `
rules:
  - {name: window, during: [1m..2m, 5m..], delay: 1ms}
  - {name: third, every: 3, delay: 2ms}
  - {name: twice, count: 2, when: request.path == "/count", delay: 4ms}
  - {name: after, when: match.count >= 2 && request.path == "/count", delay: 8ms}
  - {name: late, when: elapsed > duration("10m"), delay: 16ms}
`)
	for i, step := range []struct {
		at     time.Duration
		target string
		want   []string
	}{
		{0, "/", nil},
		{time.Minute, "/", []string{"window"}},
		{2*time.Minute - 1, "/", []string{"window", "third"}},
		{2 * time.Minute, "/", nil},
		{0, "/count", []string{"twice"}},
		{0, "/count", []string{"third", "twice"}},
		{0, "/count", nil},
		{11 * time.Minute, "/", []string{"window", "late"}},
	} {
		in := get(step.target)
		in.Elapsed = step.at
		if got := e.Plan(in).Fired; !slices.Equal(got, step.want) {
			t.Errorf("step %d at %s: fired %q, want %q", i, step.at, got, step.want)
		}
	}
}

// match.count is how often a condition held before, so a condition that asks
// for it must be able to hold without it once.
func TestMatchCount(t *testing.T) {
	e := engineWith(t, 1, `rules: [{name: first two, when: match.count < 2, delay: 1ms}]`)
	var fired []int
	for range 4 {
		fired = append(fired, len(e.Plan(get("/")).Fired))
	}
	if want := []int{1, 1, 0, 0}; !slices.Equal(fired, want) {
		t.Errorf("fired %v, want %v", fired, want)
	}
}

func TestCombination(t *testing.T) {
	e := engineWith(t, 1, `
rules:
  - {name: a, delay: 10ms, throttle: 80kbit, headers: {request: {set: {X: "1"}, remove: Y}}}
  - {name: b, delay: 5ms, throttle: 64kbit, fault: {status: 503, headers: {Retry-After: "1"}, body: busy}}
  - {name: c, fault: {reset: before_response}}
  - {name: d, delay: {before: first_byte, is: 3ms}, throttle: 1mbit, headers: {request: {add: {X: "2"}}, response: {set: {Via: [u, v]}}}}
  - {name: e, when: request.path == "/stop", stop: true}
  - {name: f, delay: 100ms, drip: {bytes: 2, every: 1s}}
`)
	p := e.Plan(get("/"))
	want := fixtures.Plan{
		Fired: []string{"a", "b", "d", "f"}, HoldRequest: 115 * time.Millisecond, HoldFirstByte: 3 * time.Millisecond,
		BytesPerSecond: 8000, Drip: &fixtures.Drip{Bytes: 2, Every: time.Second},
		EditRequest: []fixtures.Edit{{Op: fixtures.EditRemove, Name: "Y"}, {Op: fixtures.EditSet, Name: "X", Value: "1"}, {Op: fixtures.EditAdd, Name: "X", Value: "2"}},
		EditResponse: []fixtures.Edit{
			{Op: fixtures.EditSet, Name: "Via", Value: "u"}, {Op: fixtures.EditAdd, Name: "Via", Value: "v"},
		},
		Fault: &fixtures.Fault{Kind: fixtures.FaultStatus, Status: 503, Header: fixtures.Header{{Name: "Retry-After", Value: "1"}}, Body: []byte("busy")},
		Draw:  p.Draw,
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("Plan = %+v\nwant   %+v", p, want)
	}
	if p := e.Plan(get("/stop")); !slices.Equal(p.Fired, []string{"a", "b", "d", "e"}) {
		t.Errorf("Plan(/stop) fired %q, want a, b, d, e and no more", p.Fired)
	}
	for _, s := range e.Rules() {
		if s.Name == "c" && (s.Matched != 2 || s.Fired != 0) {
			t.Errorf("rule c matched %d and fired %d times, want 2 and 0: its fault came second", s.Matched, s.Fired)
		}
	}
}

// Of several totals the longest counts: each is what the client waits in all.
func TestTotals(t *testing.T) {
	e := engineWith(t, 1, `
rules:
  - {name: a, delay: {total: 10ms}}
  - {name: b, delay: 'uniform("1ms", "2ms")'}
  - {name: c, delay: {total: 'uniform("30ms", "40ms")'}}
  - {name: d, delay: {total: 20ms}}
  - {name: late, when: response.status == 200, delay: {total: 50ms}}
`)
	in := get("/")
	p := e.Plan(in)
	if p.HoldTotal < 30*time.Millisecond || p.HoldTotal >= 40*time.Millisecond || p.HoldRequest == 0 || p.HoldFirstByte != 0 {
		t.Errorf("Plan = %+v, want a total of 30 to 40ms, and 1 to 2ms before the request", p)
	}
	in.Response = &fixtures.Response{Status: 200}
	if q := e.PlanResponse(in, p); q.HoldTotal != 50*time.Millisecond || q.HoldFirstByte != 0 {
		t.Errorf("PlanResponse = %+v, want a total of 50ms", q)
	}
}

func TestResponseRules(t *testing.T) {
	e := engineWith(t, 1, `
rules:
  - {name: hold, delay: 1ms}
  - {name: mask, when: response.status >= 500 && request.path startsWith "/api", fault: {status: 404}}
  - {name: slow, when: response.ttfb > duration("1s"), delay: 2ms}
  - {name: exempt, when: request.header("X-Exempt") == "yes", stop: true}
  - {name: html, when: response.header("Content-Type") startsWith "text/html", throttle: 1mbit}
`)
	in := get("/api/x")
	p := e.Plan(in)
	if !p.NeedsResponse || p.HoldRequest != time.Millisecond || p.Fault != nil {
		t.Fatalf("Plan = %+v, want 1ms and NeedsResponse", p)
	}
	in.TTFB = 2 * time.Second
	in.Response = &fixtures.Response{Status: 502, Header: fixtures.Header{{Name: "content-type", Value: "text/html"}}}
	q := e.PlanResponse(in, p)
	if want := []string{"hold", "mask", "slow", "html"}; !slices.Equal(q.Fired, want) {
		t.Errorf("PlanResponse fired %q, want %q", q.Fired, want)
	}
	if q.Fault == nil || q.Fault.Status != 404 || q.HoldFirstByte != 2*time.Millisecond || q.BytesPerSecond != 125000 || q.NeedsResponse {
		t.Errorf("PlanResponse = %+v, want status 404, 2ms before the first byte, 125000 B/s", q)
	}
	if len(p.Fired) != 1 {
		t.Errorf("the first plan's Fired = %q after PlanResponse, want it untouched", p.Fired)
	}
	exempt := get("/api/x")
	exempt.Request.Header = fixtures.Header{{Name: "x-exempt", Value: "yes"}}
	p = e.Plan(exempt)
	exempt.Response = in.Response
	if q := e.PlanResponse(exempt, p); !slices.Equal(q.Fired, []string{"hold", "exempt", "mask"}) {
		t.Errorf("PlanResponse behind a stop fired %q, want hold, exempt, mask and not html", q.Fired)
	}
}

func TestEnvironment(t *testing.T) {
	in := &Input{
		Request: &fixtures.Request{
			Proto: "HTTP/2.0", Method: "POST", Scheme: "https", Host: "Pay.Internal:8443", Target: "/v1/pay%20me?a=1&b=x%20y",
			Header: fixtures.Header{{Name: "X-A", Value: "1"}, {Name: "x-a", Value: "2"}, {Name: "cookie", Value: "s=1; id=77"}},
		},
		Body:     []byte(`{"user":{"id":7,"tags":["x","y"]},"amount":12.5,"ok":true}`),
		Response: &fixtures.Response{Status: 201, Header: fixtures.Header{{Name: "Content-Length", Value: "9"}, {Name: "V", Value: "w"}}},
		TTFB:     30 * time.Millisecond, Client: "10.0.0.7", Door: "forward http://127.0.0.1:8080",
		InFlight: 3, Rate: 12.5, Elapsed: 90 * time.Second,
	}
	for _, when := range []string{
		`request.method == "POST" && request.scheme == "https" && request.proto == "HTTP/2.0"`,
		`request.host == "pay.internal" && request.port == 8443`,
		`"pay.internal" == request.host and request.method in ["PUT", "POST"]`,
		`request.path == "/v1/pay%20me" && request.target endsWith "b=x%20y"`,
		`request.path in ["/", "/v1/pay%20me"] && request.path startsWith "/v1/"`,
		`request.path startsWith "/v1/" && request.path startsWith "/v1/pay"`,
		`request.url == "https://Pay.Internal:8443/v1/pay%20me?a=1&b=x%20y"`,
		`request.query("b") == "x y" && request.query("nope") == ""`,
		`request.header("X-a") == "1" && len(request.headers("x-A")) == 2 && request.header("n") == ""`,
		`request.cookie("id") == "77" && request.cookie("nope") == ""`,
		`request.body contains "amount" && request.size == 58`,
		`request.json("$.user.id") == 7 && request.json("$.amount") > 12 && request.json("$.user.tags[1]") == "y"`,
		`request.json("$.nope") == nil && request.json("$.ok")`,
		`response.status == 201 && response.size == 9 && response.header("v") == "w" && len(response.headers("V")) == 1`,
		`response.ttfb >= duration("30ms") && response.ttfb < duration("31ms")`,
		`client.ip == "10.0.0.7" && client.door startsWith "forward "`,
		`load.inflight == 3 && load.rate > 12.0 && elapsed == duration("90s") && match.count == 0`,
		`rand() < 1.0 && rand() != rand()`,
		`any(request.headers("X-A"), # == "2") && request["method"] == "POST"`,
		`(request.method == "GET" || request.method == "POST") && not (request.port == 80)`,
		`let m = request.method; m == "POST"`,
	} {
		e := engineWith(t, 1, fmt.Sprintf("rules:\n  - name: a\n    when: '%s'\n    headers: {response: {set: {a: b}}}", when))
		if p := e.PlanResponse(in, e.Plan(in)); len(p.Fired) != 1 {
			t.Errorf("%s does not hold, want it to", when)
		}
	}
}

func TestHosts(t *testing.T) {
	for authority, want := range map[string][2]string{
		"a.test": {"a.test", ""}, "a.test:80": {"a.test", "80"}, "[::1]:443": {"::1", "443"}, "[::1]": {"::1", ""},
		"::1": {"::1", ""}, "": {"", ""}, "a:": {"a", ""}, "[": {"", ""},
	} {
		if host, port := splitPort(authority); host != want[0] || port != want[1] {
			t.Errorf("splitPort(%q) = %q, %q, want %q, %q", authority, host, port, want[0], want[1])
		}
	}
}

func TestRuntimeErrorIsReportedOnce(t *testing.T) {
	var reports []string
	e := NewEngine(1, func(rule string, err error) { reports = append(reports, rule+": "+err.Error()) })
	e.Swap(mustParse(t, `
rules:
  - {name: sum, when: 'request.json("$.n") + 1 > 2', delay: 1ms}
  - {name: flag, when: 'request.json("$.n")', delay: 1ms}
  - {name: wait, delay: 'duration(request.query("d"))'}
`))
	for range 3 {
		in := get("/?d=soon")
		in.Body = []byte(`{"n": "text"}`)
		if p := e.Plan(in); p.HoldRequest != 0 {
			t.Errorf("HoldRequest = %s after errors, want 0", p.HoldRequest)
		}
	}
	if len(reports) != 3 || strings.Contains(strings.Join(reports, ""), "\n") || !strings.Contains(reports[0], "rules.yaml:3: rule \"sum\": when: ") {
		t.Errorf("reports = %q, want one line with its place for each rule", reports)
	}
	for _, s := range e.Rules() {
		if s.Errors != 3 {
			t.Errorf("rule %q has %d errors, want 3", s.Name, s.Errors)
		}
	}
}

// An evaluation cannot eat memory: the list ends at the budget, as an error.
func TestEvaluationIsBounded(t *testing.T) {
	e := NewEngine(1, nil)
	e.Swap(mustParse(t, "rules: [{name: a, when: 'len(map(1..load.inflight, # * 2)) > 0', delay: 1ms}]"))
	in := get("/")
	for _, step := range []struct {
		inflight int
		fired    int
	}{{100, 1}, {1_000_000, 0}, {100, 1}} {
		in.InFlight = step.inflight
		if got := len(e.Plan(in).Fired); got != step.fired {
			t.Errorf("a list of %d elements: fired %d, want %d", step.inflight, got, step.fired)
		}
	}
	if s := e.Rules()[0]; s.Errors != 1 {
		t.Errorf("Errors = %d, want 1", s.Errors)
	}
}

// Plans, swaps and switches go on at once.
func TestConcurrentUse(t *testing.T) {
	e := engineWith(t, 1, mixed)
	sets := []*Set{mustParse(t, mixed), mustParse(t, "rules: [{name: tail, when: response.status == 200, delay: 1ms}]")}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				in := get(fmt.Sprint("/a", i%7))
				in.Response = &fixtures.Response{Status: 200}
				e.NeedsBody(in.Request)
				e.PlanResponse(in, e.Plan(in))
				e.Door(&Arrival{Conn: uint64(i), Host: "a.test"})
				switch {
				case w == 0:
					e.Swap(sets[i%2])
				case i%50 == 0:
					e.SetAllEnabled(i%100 == 0)
					e.Rules()
				}
			}
		})
	}
	wg.Wait()
}

func TestSwitches(t *testing.T) {
	e := engineWith(t, 1, "rules: [{name: a, delay: 1ms}, {name: b, delay: 2ms}, {name: c, enabled: false, delay: 4ms}]")
	fired := func() []string { return e.Plan(get("/")).Fired }
	check := func(what string, want ...string) {
		t.Helper()
		if got := fired(); !slices.Equal(got, want) {
			t.Errorf("%s: fired %q, want %q", what, got, want)
		}
	}
	check("at first", "a", "b")
	if err := e.SetEnabled("b", false); err != nil {
		t.Fatal(err)
	}
	check("b off", "a")
	if err := e.SetEnabled("nope", true); err == nil {
		t.Error("SetEnabled(nope) = nil, want an error")
	}
	e.SetAllEnabled(false)
	check("all off")
	if slices.ContainsFunc(e.Rules(), func(s Status) bool { return s.Enabled }) {
		t.Error("Rules() has an enabled rule while all are off")
	}
	change := e.Swap(mustParse(t, "rules: [{name: b, delay: 3ms}, {name: d, delay: 8ms}, {name: c, enabled: true, delay: 4ms}]"))
	if want := (Change{[]string{"d"}, []string{"b", "c"}, []string{"a"}}); !reflect.DeepEqual(change, want) {
		t.Errorf("Swap = %+v, want %+v", change, want)
	}
	check("all off, after a reload")
	e.SetAllEnabled(true)
	check("on again: b's switch survived, c's key changed", "d", "c")
	if s := e.Rules()[0]; s.Matched != 1 || s.Fired != 1 {
		t.Errorf("b after the reload: matched %d, fired %d, want the 1 and 1 from before", s.Matched, s.Fired)
	}
}

func TestNeedsBody(t *testing.T) {
	e := engineWith(t, 1, `
rules:
  - {name: a, when: 'request.path startsWith "/pay" && request.json("$.n") == 1', delay: 1ms}
  - {name: b, when: 'request.method == "PUT" && request.body contains "x"', delay: 1ms}
`)
	for target, want := range map[string]bool{"/pay/1": true, "/pa": false} {
		if got := e.NeedsBody(get(target).Request); got != want {
			t.Errorf("NeedsBody(%s) = %v, want %v", target, got, want)
		}
	}
	if err := e.SetEnabled("a", false); err != nil {
		t.Fatal(err)
	}
	if e.NeedsBody(get("/pay/1").Request) {
		t.Error("NeedsBody = true for a rule that is off, want false")
	}
}

func TestDoor(t *testing.T) {
	e := engineWith(t, 3, `
rules:
  - {name: one host, when: request.host == "pay.test", fault: {refuse: tls}}
  - {name: never these, when: 'request.host endsWith ".bad"', fault: {refuse: connection}}
  - {name: every third, every: 3, fault: {refuse: connection}}
`)
	for i, step := range []struct {
		conn uint64
		host string
		want fixtures.Refusal
		rule string
	}{
		{1, "", "", ""}, {1, "pay.test:443", fixtures.RefuseTLS, "one host"},
		{2, "", "", ""}, {2, "a.bad:80", fixtures.RefuseConnection, "never these"},
		{3, "", fixtures.RefuseConnection, "every third"},
		{4, "", "", ""}, {4, "shop.test:443", "", ""}, {4, "shop.test", "", ""},
		{5, "", "", ""}, {6, "", fixtures.RefuseConnection, "every third"},
	} {
		got, rule := e.Door(&Arrival{Conn: step.conn, Client: "10.0.0.7", Host: step.host})
		if got != step.want || rule != step.rule {
			t.Errorf("step %d: Door(%d, %q) = %q by %q, want %q by %q", i, step.conn, step.host, got, rule, step.want, step.rule)
		}
	}
	if p := e.Plan(get("/")); len(p.Fired) > 0 {
		t.Errorf("Plan fired %q, want none: these rules are the door's", p.Fired)
	}
}

// Rules that the index excludes are not evaluated: a broken expression behind
// a guard that does not hold leaves no trace.
func TestExcludedRulesAreNotEvaluated(t *testing.T) {
	text := "rules:\n"
	for i := range 200 {
		text += fmt.Sprintf("  - {name: r%d, when: 'request.method == \"GET\" && request.path startsWith \"/p%d/\" && request.json(\"$.x\") + 1 > 0', delay: 1ms}\n", i, i)
	}
	e := NewEngine(1, nil)
	e.Swap(mustParse(t, text))
	e.Plan(get("/p17/x"))
	post := get("/p18/x")
	post.Request.Method = "POST"
	e.Plan(post)
	for i, s := range e.Rules() {
		want := uint64(0)
		if i == 17 {
			want = 1
		}
		if s.Errors != want {
			t.Errorf("rule %s was evaluated %d times, want %d", s.Name, s.Errors, want)
		}
	}
}

// The index agrees with what the conditions say.
func TestIndexAgreesWithConditions(t *testing.T) {
	values := []string{"/", "/a", "/ab", "/abc", "/b", "/abc/d"}
	text, want := "rules:\n", map[string][]string{}
	for i, p := range values {
		for j, op := range []string{"==", "startsWith"} {
			name := fmt.Sprintf("%s %s", op, p)
			text += fmt.Sprintf("  - {name: '%s', when: 'request.path %s \"%s\"', delay: 1ms}\n", name, op, p)
			for _, path := range values {
				if path == p || j == 1 && len(path) >= len(p) && path[:len(p)] == p {
					want[path] = append(want[path], name)
				}
			}
		}
		text += fmt.Sprintf("  - {name: any %d, stop: false, delay: 1ms}\n", i)
		for _, path := range values {
			want[path] = append(want[path], fmt.Sprint("any ", i))
		}
	}
	e := engineWith(t, 1, text)
	for _, path := range values {
		if got := e.Plan(get(path + "?q")).Fired; !slices.Equal(got, want[path]) {
			t.Errorf("%s: fired %q, want %q", path, got, want[path])
		}
	}
}
