package rules

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/place"
)

// conditionsToCompare are conditions and whether they are plain from end to end.
var conditionsToCompare = map[string]bool{
	`request.method != "GET"`:                                               true,
	`"GET" == request.scheme or request.proto == "HTTP/1.1"`:                true,
	`request.header("X-A") == "b" && rand() < 0.5`:                          true,
	`rand() < 0.5 || rand() < 0.5`:                                          true,
	`rand() < rand()`:                                                       true,
	`not (request.path startsWith "/pay" and request.port == 8080)`:         true,
	`!(request.target endsWith "=1") || request.url contains "shop"`:        true,
	`request.path contains request.query("x")`:                              true,
	`request.path matches "^/pay/[0-9]+$"`:                                  true,
	`request.path not matches "^/(a|b)" && request.host > "m"`:              true,
	`request.scheme in ["http", "https"] && request.host not in ["a","b"]`:  true,
	`request.size >= 3 && request.size < 1e3`:                               true,
	`response.status >= 500 || response.size == -1`:                         true,
	`response.ttfb > duration("1s") || elapsed <= duration("2ms")`:          true,
	`load.rate > 100 && load.inflight != 1`:                                 true,
	`load.inflight < 1.5 || match.count == 0`:                               true,
	`request.cookie("c") == "1" || client.ip == "10.0.0.7"`:                 true,
	`client.door startsWith "forward" == (request.scheme == "http")`:        false,
	`rand() < 0.7 && any(request.headers("X-A"), # == "b") && rand() < 0.6`: false,
	`request.json("$.n") == 1 && request.scheme == "http"`:                  false,
	`request.scheme == "http" && request.json("$.n") + 1 > 2`:               false,
	`match.count % 2 == 0`:                                                  false,
	`request.port in 8000..9000`:                                            false,
	`lower(request.path) == "/pay"`:                                         false,
	`request.port in [80, 8080]`:                                            false,
	`request.path startsWith request.query("x") ? true : rand() < 0.5`:      false,
}

// scopes are what conditions are compared on.
func scopesToCompare() []*Input {
	pay := get("/pay/17?x=pay")
	pay.Request.Header = fixtures.Header{{Name: "X-A", Value: "b"}, {Name: "Cookie", Value: "c=1"}, {Name: "Content-Length", Value: "7"}}
	pay.Body = []byte(`{"n": 1}`)
	pay.Response = &fixtures.Response{Status: 503, Header: fixtures.Header{{Name: "Content-Length", Value: "12"}}}
	pay.TTFB, pay.Elapsed, pay.Rate, pay.InFlight = 2*time.Second, time.Hour, 120.5, 7
	other := get("/b=1")
	other.Request.Scheme, other.Request.Host, other.Request.Proto = "https", "A", "HTTP/2.0"
	other.Response = &fixtures.Response{Status: 200, Body: fixtures.Body{Chunked: true}}
	other.Body = []byte(`{"n": "text"}`)
	return []*Input{pay, other, {Request: &fixtures.Request{}}}
}

// compiledWhole is a condition as it stands, with what the index would decide; nil for
// what is none.
func compiledWhole(text string) *expression {
	data, _ := json.Marshal(text) // a text can be marshalled
	file := place.NewFile("rules.yaml", data)
	root, yerr := place.ParseYAML(file, data)
	if yerr != nil {
		return nil
	}
	s, ok := file.Scalar(root)
	if !ok {
		return nil
	}
	c, err := check("when", s, &testOptions)
	if err != nil || c.result.Kind() != reflect.Bool {
		return nil
	}
	p, whole := plainCondition(c.tree.Node)
	x, err := c.compile("when", s)
	if err != nil {
		return nil
	}
	x.plain, x.whole = p, whole
	return x
}

// agrees holds that a condition decides as the VM alone would.
func agrees(t *testing.T, text string, x *expression) {
	for i, in := range scopesToCompare() {
		for seed := range uint64(16) {
			s := scopeFor(in)
			s.begin(seed%3, draws{exchange: seed})
			got, gotErr := x.holds(s)
			s.begin(seed%3, draws{exchange: seed})
			want, wantErr := x.evaluated(s)
			s.release()
			if got != want || (gotErr == nil) != (wantErr == nil) {
				t.Errorf("%s on input %d, seed %d = %v, %v; want %v, %v as the VM says", text, i, seed, got, gotErr, want, wantErr)
			}
		}
	}
}

func TestPlainAgreesWithTheVM(t *testing.T) {
	for text, whole := range conditionsToCompare {
		x := compiledWhole(text)
		if x == nil {
			t.Errorf("%s does not compile", text)
			continue
		}
		if x.whole != whole {
			t.Errorf("%s is plain = %v, want %v", text, x.whole, whole)
		}
		agrees(t, text, x)
	}
}

// Whatever compiles is decided as the VM alone would decide it.
func FuzzPlain(f *testing.F) {
	for text := range conditionsToCompare {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		x := compiledWhole(text)
		if x == nil || x.plain == nil {
			return
		}
		agrees(t, text, x)
	})
}

// A rule that does not hold costs no allocation, wherever that is decided; nor does
// one that edits a head or delays. Patterns are left out: package regexp has its
// machines from a pool, which the race detector empties at random.
func TestPlanAllocatesNothing(t *testing.T) {
	for name, condition := range map[string]string{
		"by the index":  `request.path startsWith "/pay%02d"`,
		"by a header":   `request.header("X-A") == "c%02d" && rand() < 0.5`,
		"by the load":   `load.inflight > 1%02d || load.rate >= 2e%02d`,
		"by the client": `client.ip in ["10.0.0.1%02d", "::1"]`,
	} {
		text := ruleList(99, condition, "fault: {status: 503}") +
			"  - {name: hit, when: 'request.path startsWith \"/other\"', delay: 5ms, headers: {response: {set: {X-Rule: hit}}}}\n"
		e := engineWith(t, 1, text)
		in := get("/other")
		in.Request.Header = fixtures.Header{{Name: "X-A", Value: "b"}}
		if p := e.Plan(in); len(p.Fired) != 1 || p.HoldRequest+p.HoldFirstByte != 5*time.Millisecond {
			t.Errorf("%s: Plan = %+v, want one rule fired", name, p)
		}
		if n := testing.AllocsPerRun(100, func() { e.Plan(in) }); n != 0 {
			t.Errorf("%s: Plan allocates %v times, want never", name, n)
		}
	}
}
