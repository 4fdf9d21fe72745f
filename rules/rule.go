package rules

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// phase is the moment at which a rule is decided.
type phase uint8

const (
	atRequest  phase = iota // at the request's head, or its body where a rule reads it
	atResponse              // at the response's head
	atDoor                  // at accept, CONNECT or TLS server name
	atName                  // when a name is resolved
)

// rule is one rule, checked and compiled. It is immutable.
type rule struct {
	name    string
	alone   []string // the name, as a plan has it in which nothing else fired; nobody writes to it
	place   string   // file:line
	digest  uint64
	seed    uint64 // from the name, to tell its draws from other rules'
	enabled bool   // as the file has it

	phase   phase
	uses    uses
	guards  guards
	when    *expression // nil: what the guards say, or always
	during  []timing.Span
	every   uint64 // 0 and 1: each match
	chance  float64
	count   uint64 // 0: no limit
	stop    bool
	effects effects
	keys    map[string]ast.Node // where a key of the rule stands, for errors

	linkAt func(hint, format string, args ...any) *place.Error // a finding at the link's class
}

// effects is what a rule does when it fires.
type effects struct {
	holdRequest   *amount
	holdFirstByte *amount
	holdTotal     *amount
	throttle      float64 // bytes per second; 0 for none
	drip          *fixtures.Drip
	fault         *fixtures.Fault
	refuse        fixtures.Refusal
	name          fixtures.NameFault
	editRequest   []fixtures.Edit
	editResponse  []fixtures.Edit
	link          string // a class of the link; "" for none
}

func (e *effects) none() bool {
	return e.holdRequest == nil && e.holdFirstByte == nil && e.holdTotal == nil && e.throttle == 0 && e.drip == nil && e.fault == nil &&
		e.refuse == fixtures.RefuseNone && e.name == fixtures.NameResolves && len(e.editRequest) == 0 && len(e.editResponse) == 0 && e.link == ""
}

var ruleKeys = []string{
	"name", "enabled", "when", "during", "every", "chance", "count", "stop",
	"delay", "throttle", "drip", "fault", "headers", "link",
}

// rule reads one rule; nil where something is wrong with it.
func (r *reader) rule(n ast.Node) *rule {
	before := len(r.errs)
	entries, ok := r.mapping("rule", n, n)
	if !ok {
		return nil
	}
	u := &rule{enabled: true, chance: 1, digest: r.digest(n), keys: map[string]ast.Node{}}
	if t := place.Start(r.plain(n)).GetToken(); t != nil && t.Position != nil {
		u.place = fmt.Sprintf("%s:%d", r.file.Name, t.Position.Line)
	}
	var delay entry
	for _, e := range entries {
		u.keys[e.key] = e.keyNode
		switch e.key {
		case "name":
			r.read(e, "name", "a text", "", func(text string) error {
				if text == "" {
					return errors.New("want a text, got an empty one")
				}
				u.name = text
				return nil
			})
		case "enabled":
			r.boolean(e, "enabled", &u.enabled)
		case "when":
			r.when(u, e)
		case "during":
			for _, item := range r.sequence(e.value) {
				r.read(entry{e.key, e.keyNode, item}, "during", "a range of times such as 2m..3m", "", func(text string) error {
					s, err := timing.ParseSpan(text)
					u.during = append(u.during, s)
					return err
				})
			}
		case "every":
			r.whole(e, "every", &u.every)
		case "count":
			r.whole(e, "count", &u.count)
		case "chance":
			r.read(e, "chance", "a share from 0 to 1", "", func(text string) (err error) {
				u.chance, err = parseShare(text)
				return err
			})
		case "stop":
			r.boolean(e, "stop", &u.stop)
		case "delay":
			delay = e // its default place hangs on the rule's phase
		case "throttle":
			r.read(e, "throttle", "a rate such as 64kbit", "bits: bit, kbit, mbit, gbit; bytes: B/s, KB/s, MB/s", func(text string) (err error) {
				u.effects.throttle, err = parseRate(text)
				return err
			})
		case "drip":
			r.drip(u, e)
		case "fault":
			r.fault(u, e)
		case "headers":
			r.headers(u, e)
		case "link":
			r.link(u, e)
		default:
			r.unknown(e, "", ruleKeys...)
		}
	}
	if delay.value != nil {
		r.delay(u, delay)
	}
	if len(r.errs) > before {
		return nil
	}
	r.check(u, n)
	if len(r.errs) > before {
		return nil
	}
	u.seed = timing.MixString(0, u.name)
	u.keys = nil
	return u
}

// check finds what is wrong between keys, and settles the rule's phase.
func (r *reader) check(u *rule, n ast.Node) {
	if u.name == "" {
		r.fail(n, "the name is what the log and the ledger call it", "rule: want a name")
		return
	}
	if u.effects.none() && !u.stop {
		r.fail(n, "add delay, throttle, drip, fault, headers or link; or stop: true to keep later rules away", "rule %q does nothing", u.name)
	}
	switch {
	case u.effects.refuse != fixtures.RefuseNone:
		r.checkDoor(u)
		return
	case u.effects.name != fixtures.NameResolves || u.uses&usesName != 0:
		r.checkName(u)
		return
	}
	if u.uses&usesResponse == 0 {
		return
	}
	u.phase = atResponse
	if u.effects.holdRequest != nil {
		r.fail(u.keys["delay"], "delay the response with {before: first_byte, is: ...}, or do not ask for response in this rule",
			"delay: the request has long been sent when the response is known")
	}
	if len(u.effects.editRequest) > 0 {
		r.fail(u.keys["headers"], "move the request's edits to a rule that does not ask for response",
			"headers: the request has long been sent when the response is known")
	}
}

// checkDoor holds a refusing rule to what is known before a request is read.
func (r *reader) checkDoor(u *rule) {
	u.phase = atDoor
	if u.uses&(usesRequest|usesResponse|usesBody|usesName) != 0 {
		r.fail(u.keys["when"], "at the door only request.host, client, load, elapsed, match.count and rand() are known",
			"when: a connection is refused before a request is read")
	}
	e := &u.effects
	if e.holdRequest != nil || e.holdFirstByte != nil || e.holdTotal != nil || e.throttle != 0 || e.drip != nil || len(e.editRequest) > 0 || len(e.editResponse) > 0 || e.link != "" {
		r.fail(u.keys["fault"], "put delay, throttle, drip, headers and link into a rule of their own",
			"fault: a refused connection has no answer to bend")
	}
}

// checkName holds a rule about a name to what is known when it is resolved, and to
// what can be done then.
func (r *reader) checkName(u *rule) {
	u.phase = atName
	e := &u.effects
	const beyond = usesHost | usesRequest | usesResponse | usesBody | usesTraffic
	const known = "of a name only dns.name, elapsed, match.count and rand() are known"
	switch delay := e.holdRequest; {
	case delay != nil && delay.uses()&beyond != 0:
		r.fail(u.keys["delay"], known, "delay: a name is resolved before there is a connection or a request")
	case u.uses&beyond != 0:
		r.fail(u.keys["when"], known, "when: a name is resolved before there is a connection or a request")
	case e.holdFirstByte != nil:
		r.fail(u.keys["delay"], "such as delay: 2s", "delay: the answer to a name is held back as a whole")
	}
	if e.fault != nil || e.drip != nil && u.keys["drip"] == nil {
		r.fail(u.keys["fault"], "a name is refused with {dns: nxdomain}, {dns: servfail} or {dns: timeout}; "+
			"put other faults into a rule of their own, without dns.name", "fault: a name has no answer of HTTP to bend")
	}
	for _, key := range []string{"throttle", "drip", "headers"} {
		if n := u.keys[key]; n != nil {
			r.fail(n, "put it into a rule of its own, without dns.name", "%s: a name has no answer of HTTP to bend", key)
		}
	}
	if n := u.keys["link"]; n != nil {
		r.fail(n, "link.classes of the configuration has to: for all connections to a name", "link: a name has no connection yet")
	}
}

// when compiles the condition.
func (r *reader) when(u *rule, e entry) {
	s, ok := r.scalar("when", "a condition", e.keyNode, e.value)
	if !ok {
		return
	}
	x, g, err := compileCondition(s, r.opts)
	if err != nil {
		r.errs = append(r.errs, err)
		return
	}
	u.when, u.guards, u.uses = x, g, u.uses|g.uses
	if x != nil {
		u.uses |= x.uses
	}
}

// delay reads a duration, a distribution or an expression, alone or with the
// place where it is spent.
func (r *reader) delay(u *rule, e entry) {
	before, value, total := entry{}, e, false
	if r.isMapping(e.value) {
		entries, _ := r.mapping("delay", e.keyNode, e.value)
		value = entry{}
		for _, f := range entries {
			switch f.key {
			case "before":
				before = f
			case "is", "total":
				if value.keyNode != nil {
					r.fail(f.keyNode, "is adds to what the answer takes, total is what the client waits in all", "delay: want is or total, got both")
					return
				}
				value, total = f, f.key == "total"
			default:
				r.unknown(f, "delay", "before", "is", "total")
			}
		}
		if value.keyNode == nil {
			r.fail(e.keyNode, `such as {before: first_byte, is: 50ms}, or {total: 50ms}`, "delay: want is or total, the delay itself")
			return
		}
		if total && before.keyNode != nil {
			r.fail(before.keyNode, "leave before away", "delay: a total has no place: it ends with the answer's first byte")
			return
		}
	}
	s, ok := r.scalar("delay", `a duration such as "50ms"`, value.keyNode, value.value)
	if !ok {
		return
	}
	a, err := compileAmount(s, r.opts)
	if err != nil {
		r.errs = append(r.errs, err)
		return
	}
	u.uses |= a.uses()
	where := "request"
	if u.uses&usesResponse != 0 {
		where = "first_byte"
	}
	if before.keyNode != nil {
		if where, ok = r.choice(before, "delay: before", "request", "first_byte"); !ok {
			return
		}
	}
	switch {
	case total:
		u.effects.holdTotal = a
	case where == "request":
		u.effects.holdRequest = a
	default:
		u.effects.holdFirstByte = a
	}
}

func (r *reader) isMapping(n ast.Node) bool {
	switch r.plain(n).(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}
