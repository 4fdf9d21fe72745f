package rules

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/expr-lang/expr/vm"
	"github.com/ohler55/ojg/jp"
	"github.com/ohler55/ojg/oj"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// memoryBudget bounds what one evaluation may build: elements of lists, bytes
// of repeated text.
const memoryBudget = 10_000

// scope is what one evaluation sees. It is reused: what is dear is computed
// when first asked for, once a request.
type scope struct {
	vm   vm.VM
	in   *Input
	host string // without port, lower case
	path string
	name string // that is resolved; lower case, no final dot

	matched uint64 // how often this rule matched before
	from    draws

	bodyText string
	hasBody  bool
	document any
	parsed   bool
	params   url.Values
}

// scopes has one scope a worker, each with its own VM: saves its stack's
// allocation an evaluation (BenchmarkPlan).
var scopes = sync.Pool{New: func() any { return &scope{vm: vm.VM{MemoryBudget: memoryBudget}} }}

func scopeFor(in *Input) *scope {
	s := scopes.Get().(*scope)
	s.in = in
	s.path = in.Request.Path()
	s.host = hostOf(in.Request.Host)
	return s
}

// release forgets the request, so that the pool keeps no bodies alive.
func (s *scope) release() {
	*s = scope{vm: s.vm}
	clear(s.vm.Stack[:cap(s.vm.Stack)])
	clear(s.vm.Variables)
	scopes.Put(s)
}

// draws are what an evaluation draws from: a decision's seed, which is only derived
// where something is drawn, and how often that was.
type draws struct{ exchange, rule, what, n uint64 }

// begin starts an evaluation with its own draws.
func (s *scope) begin(matched uint64, from draws) { s.matched, s.from = matched, from }

func (s *scope) draw() float64 {
	d := &s.from
	d.n++
	return timing.Unit(timing.Mix(timing.Mix(d.exchange, d.rule, d.what), d.n))
}

// hostOf takes the port and an IPv6 address's brackets off an authority, and
// lowers its case.
func hostOf(authority string) string {
	host, _ := splitPort(authority)
	return strings.ToLower(host)
}

// splitPort cuts an authority into host and port ("" for none).
func splitPort(authority string) (host, port string) {
	if rest, ok := strings.CutPrefix(authority, "["); ok {
		host, port, _ = strings.Cut(rest, "]")
		return host, strings.TrimPrefix(port, ":")
	}
	if strings.Count(authority, ":") > 1 { // an IPv6 address without brackets
		return authority, ""
	}
	host, port, _ = strings.Cut(authority, ":")
	return host, port
}

func (s *scope) port() int {
	_, port := splitPort(s.in.Request.Host)
	if n, err := strconv.Atoi(port); err == nil {
		return n
	}
	switch s.in.Request.Scheme {
	case "https":
		return 443
	case "http":
		return 80
	}
	return 0
}

func (s *scope) requestSize() int {
	if s.in.Body != nil {
		return len(s.in.Body)
	}
	return declaredSize(s.in.Request.Header, &s.in.Request.Body, 0)
}

func (s *scope) responseSize() int {
	r := s.response()
	return declaredSize(r.Header, &r.Body, -1)
}

// declaredSize is a body's size as far as its head tells, -1 for unknown;
// silent is the size where the head says nothing.
func declaredSize(h fixtures.Header, b *fixtures.Body, silent int) int {
	if n, err := strconv.Atoi(h.Get("Content-Length")); err == nil && n >= 0 {
		return n
	}
	switch {
	case b.Size > 0:
		return int(b.Size)
	case b.Chunked:
		return -1
	}
	return silent
}

var noResponse fixtures.Response

// response is never nil: rules that ask for it are only evaluated with one.
func (s *scope) response() *fixtures.Response {
	if s.in.Response == nil {
		return &noResponse
	}
	return s.in.Response
}

func (s *scope) query(key string) string {
	if s.params == nil {
		// What is malformed is left out; the rest counts.
		s.params, _ = url.ParseQuery(s.in.Request.Query())
	}
	return s.params.Get(key)
}

func (s *scope) cookie(key string) string {
	for _, f := range s.in.Request.Header {
		if !strings.EqualFold(f.Name, "Cookie") {
			continue
		}
		cookies, err := http.ParseCookie(f.Value)
		if err != nil {
			continue
		}
		for _, c := range cookies {
			if c.Name == key {
				return c.Value
			}
		}
	}
	return ""
}

func (s *scope) body() string {
	if !s.hasBody {
		s.bodyText, s.hasBody = string(s.in.Body), true
	}
	return s.bodyText
}

// jsonPath is a JSONPath that was parsed at load.
type jsonPath struct{ jp.Expr }

// json is the first value at a path in the body; nil for none, or where the
// body is no JSON.
func (s *scope) json(path *jsonPath) any {
	if !s.parsed {
		s.document, _ = oj.Parse(s.in.Body)
		s.parsed = true
	}
	if s.document == nil {
		return nil
	}
	switch v := path.First(s.document).(type) {
	case int64:
		return int(v) // expr's own integer
	default:
		return v
	}
}
