package app

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/internal/telemetry"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// OpenCassette opens a cassette's directory, or a single file that can be
// replayed. An error stands for bad input.
func OpenCassette(path string) (*cassette.Cassette, error) {
	c, err := cassette.Open(path)
	return c, BadInput(err)
}

// FindExchange returns the exchange of a cassette with this id.
func FindExchange(c *cassette.Cassette, id uint64) (*fixtures.Exchange, error) {
	n, last := 0, uint64(0)
	for x, err := range c.Exchanges() {
		switch {
		case err != nil:
			return nil, BadInput(err)
		case x.ID == id:
			return x, nil
		}
		n, last = n+1, max(last, x.ID)
	}
	hint := "it has no exchanges"
	if n > 0 {
		hint = fmt.Sprintf("understudy cassette ls %s lists its %s; the highest id is %d", c.Path, plural(n, "exchange"), last)
	}
	return nil, BadInput(fmt.Errorf("%s: no exchange %d\nhint: %s", c.Path, id, hint))
}

// operationOf names what a request asks for: "GET api.test/orders/{id}", where
// segments that look like ids are taken for one.
func operationOf(r *fixtures.Request) string {
	path := r.Path()
	if !strings.HasPrefix(path, "/") { // "*", or the authority of a CONNECT
		return r.Method + " " + r.Host + " " + path
	}
	return r.Method + " " + r.Host + telemetry.Route(path)
}

// ttfb is the time from the request's last byte to the answer's first, as replay
// plays it; 0 where no answer came.
func ttfb(x *fixtures.Exchange) time.Duration {
	if !answered(x) {
		return 0
	}
	return max(0, x.Times.FirstByte-x.Times.RequestRead)
}

// total is the time from the request's last byte to the answer's last; 0 where
// it has no end.
func total(x *fixtures.Exchange) time.Duration {
	if !answered(x) || x.Times.End == 0 {
		return 0
	}
	return max(0, x.Times.End-x.Times.RequestRead)
}

// answered reports whether an answer began to come. Where none did, the first byte is
// that of our own refusal.
func answered(x *fixtures.Exchange) bool { return x.Response.Status != 0 && x.Times.FirstByte > 0 }

// Latency is what a set of durations looks like.
type Latency struct {
	N   int     `json:"n"`
	P50 Seconds `json:"p50_seconds"`
	P95 Seconds `json:"p95_seconds"`
	P99 Seconds `json:"p99_seconds"`
}

func latency(samples []time.Duration) Latency {
	s := timing.Summarize(samples)
	return Latency{N: s.N, P50: Seconds(s.P50), P95: Seconds(s.P95), P99: Seconds(s.P99)}
}

// Seconds is a duration that JSON shows in seconds and people read with its unit.
type Seconds time.Duration

// MarshalJSON gives seconds as a number.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%g", time.Duration(s).Seconds()), nil
}

// String has three significant digits and a unit: "41.2ms".
func (s Seconds) String() string {
	d := time.Duration(s)
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		if v := float64(d) / float64(u.unit); v >= 1 || v <= -1 {
			digits := 2
			for w := v; (w >= 10 || w <= -10) && digits > 0; w /= 10 {
				digits--
			}
			return fmt.Sprintf("%.*f%s", digits, v, u.name)
		}
	}
	if d == 0 {
		return "0"
	}
	return d.String()
}

// Operation is what a cassette holds of one call.
type Operation struct {
	Name     string      `json:"operation"`
	N        int         `json:"exchanges"`
	Statuses map[int]int `json:"statuses"` // 0 for no answer
	Bytes    int64       `json:"response_bytes"`
	TTFB     Latency     `json:"ttfb"`
	Total    Latency     `json:"total"`
}

// operations gathers exchanges by operation.
type operations struct {
	byName map[string]*operation
	order  []string
}

type operation struct {
	Operation
	ttfb, total []time.Duration
}

func (o *operations) add(x *fixtures.Exchange) {
	name := operationOf(&x.Request)
	op := o.byName[name]
	if op == nil {
		if o.byName == nil {
			o.byName = map[string]*operation{}
		}
		op = &operation{Operation: Operation{Name: name, Statuses: map[int]int{}}}
		o.byName[name] = op
		o.order = append(o.order, name)
	}
	op.N++
	op.Statuses[x.Response.Status]++
	op.Bytes += x.Response.Body.Size
	if !answered(x) {
		return
	}
	op.ttfb = append(op.ttfb, ttfb(x))
	if x.Times.End > 0 {
		op.total = append(op.total, total(x))
	}
}

// list is in the order in which operations came first.
func (o *operations) list() []Operation {
	out := make([]Operation, 0, len(o.order))
	for _, name := range o.order {
		op := o.byName[name]
		op.TTFB, op.Total = latency(op.ttfb), latency(op.total)
		out = append(out, op.Operation)
	}
	return out
}

// Operations gathers what a cassette holds, call by call, in order of their first
// appearance. An error stands for bad input.
func Operations(c *cassette.Cassette) ([]Operation, error) {
	var o operations
	for x, err := range c.Exchanges() {
		if err != nil {
			return nil, BadInput(err)
		}
		o.add(x)
	}
	return o.list(), nil
}

// Row is one line of a cassette's list.
type Row struct {
	ID      uint64  `json:"id"`
	Method  string  `json:"method"`
	URL     string  `json:"url"`
	Status  int     `json:"status"` // 0 where no answer came
	Outcome string  `json:"outcome"`
	Bytes   int64   `json:"response_bytes"`
	TTFB    Seconds `json:"ttfb_seconds"`
	Total   Seconds `json:"total_seconds"`
}

// RowOf is the line of one exchange.
func RowOf(x *fixtures.Exchange) Row {
	return Row{
		ID: x.ID, Method: x.Request.Method, URL: x.Request.URL(), Status: x.Response.Status, Outcome: outcomeName(x.Outcome),
		Bytes: x.Response.Body.Size, TTFB: Seconds(ttfb(x)), Total: Seconds(total(x)),
	}
}

// Printable makes text from a recording safe for a terminal: control characters
// become their escapes.
func Printable(s string) string {
	if !strings.ContainsFunc(s, isControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if isControl(r) {
			fmt.Fprintf(&b, `\x%02x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// fileError gives an error of reading and writing cassettes its exit code: what the
// system refused is no fault of what stands in the file.
func fileError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*os.PathError](err); ok || errors.Is(err, cassette.ErrLocked) {
		return Setup(err)
	}
	if _, ok := errors.AsType[*os.LinkError](err); ok {
		return Setup(err)
	}
	return BadInput(err)
}
