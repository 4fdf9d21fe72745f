package config

import (
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

type duration = time.Duration

// scalar makes the setter of a key with one plain value.
func scalar[T any](field func(*Config) *T, parse func(string) (T, *problem)) func(*Config, input) {
	return func(c *Config, in input) {
		text, ok := in.scalar("one value")
		if !ok {
			return
		}
		v, p := parse(text)
		if p != nil {
			in.fail(p)
			return
		}
		*field(c) = v
	}
}

// path makes the setter of a key with a path, taken from the file's directory.
func path(field func(*Config) *string) func(*Config, input) {
	return func(c *Config, in input) {
		scalar(field, func(s string) (string, *problem) {
			s, p := parsePath(s)
			return c.resolve(in, s), p
		})(c, in)
	}
}

// list makes the setter of a key with a list of plain values.
func list[T any](field func(*Config) *[]T, want string, parse func(string) (T, *problem)) func(*Config, input) {
	return func(c *Config, in input) {
		items, ok := in.items(want)
		if !ok {
			return
		}
		var values []T
		if in.more {
			values = *field(c)
		}
		for _, item := range items {
			scalar(func(*Config) *T {
				values = append(values, *new(T))
				return &values[len(values)-1]
			}, parse)(c, item)
		}
		*field(c) = values
	}
}

// paths makes the setter of a list of paths. A flag gives one at a time, which may have
// commas in its name.
func paths(field func(*Config) *[]string) func(*Config, input) {
	return func(c *Config, in input) {
		in.one = in.node == nil && strings.HasPrefix(in.from, "-") && !strings.HasPrefix(in.from, "--set")
		list(field, "paths", func(s string) (string, *problem) {
			s, p := parsePath(s)
			return c.resolve(in, s), p
		})(c, in)
	}
}

// shape is what a section must look like before another package reads it.
type shape struct {
	want, hint string
	fits       func(ast.Node) bool
}

var (
	wantList = shape{"a list of rules", "rule_files and --rules take files", func(n ast.Node) bool { return n.Type() == ast.SequenceType }}

	wantSteps = shape{"a list of steps", "each begins with a dash, such as - {name: tunnel, during: 2m..3m, outage: true}",
		func(n ast.Node) bool { return n.Type() == ast.SequenceType }}

	wantClasses = shape{"a list of classes", `each begins with a dash, such as - {name: database, to: "db.internal:5432", link: delay=80ms}`,
		func(n ast.Node) bool { return n.Type() == ast.SequenceType }}

	wantSpec = shape{`a profile's name, a SPEC such as "delay=40ms,loss=0.5%", or a mapping`, "", func(n ast.Node) bool {
		_, ok := scalarText(n)
		return ok || isMapping(n)
	}}
)

func isMapping(n ast.Node) bool {
	return n.Type() == ast.MappingType || n.Type() == ast.MappingValueType
}

func section(field func(*Config) *Section, s shape) func(*Config, input) {
	return func(c *Config, in input) {
		in, ok := in.asYAML()
		if !ok {
			return
		}
		if !s.fits(in.node) {
			in.fail(&problem{want: s.want, hint: s.hint})
			return
		}
		*field(c) = Section{File: in.file, Node: in.node}
	}
}

// setLinkTo reads destinations with conditions of their own. Text is one of them, since
// conditions have commas between them, unless it is a YAML list of quoted ones.
func setLinkTo(c *Config, in input) {
	var items []input
	quoted := strings.HasPrefix(in.text, `["`) || strings.HasPrefix(in.text, `['`)
	if in.node == nil && !quoted {
		in.file = place.NewFile(in.from, []byte(in.text))
		in.node = ast.String(token.New(in.text, in.text, &token.Position{Line: 1, Column: 1}))
		items = []input{in}
	} else {
		var ok bool
		if items, ok = in.items(`destinations such as "db.internal:5432=delay=80ms"`); !ok {
			return
		}
	}
	if !in.more {
		c.Link.To = nil
	}
	for _, item := range items {
		if _, ok := item.scalar(`DEST=SPEC such as "db.internal:5432=delay=80ms"`); ok {
			c.Link.To = append(c.Link.To, Section{File: item.file, Node: item.node})
		}
	}
}

// decoded makes the setter of a key whose type is another package's. Check, where
// there is one, says what the type alone cannot.
func decoded[T any](field func(*Config) *T, check func(T) error) func(*Config, input) {
	return func(c *Config, in input) {
		in, ok := in.asYAML()
		if !ok {
			return
		}
		if !isMapping(in.node) {
			in.fail(&problem{want: "a mapping"})
			return
		}
		var v T
		if err := place.DecodeYAML(in.file, in.node, &v); err != nil {
			e := in.file.Wrap(err)
			e.Msg = in.key + ": " + e.Msg
			*in.errs = append(*in.errs, e)
			return
		}
		if check != nil {
			if err := check(v); err != nil {
				in.errorf("", "%s: %s", in.key, err)
				return
			}
		}
		*field(c) = v
	}
}

func checkRedaction(c redact.Config) error {
	_, err := redact.New(c, redact.NewSalt())
	return err
}

// setListen reads the list of listeners. The flags take another way: see
// parseListen.
func setListen(c *Config, in input) {
	in, ok := in.asYAML()
	if !ok {
		return
	}
	items, ok := in.items("listeners")
	if !ok {
		return
	}
	c.Listen = nil
	for _, item := range items {
		if l, ok := readListener(item); ok {
			c.Listen = append(c.Listen, l)
		}
	}
}

func readListener(in input) (Listener, bool) {
	pairs, ok := in.pairs()
	if !ok {
		in.fail(&problem{want: "a listener such as {forward: 127.0.0.1:8080}"})
		return Listener{}, false
	}
	var l Listener
	var door, to input
	for _, p := range pairs {
		switch ListenKind(p.name) {
		case ListenForward, ListenReverse, ListenTCP, ListenTransparent:
			if l.Kind != "" {
				p.key.errorf("begin another item with a dash", "listen: one listener has %s and %s", l.Kind, p.name)
				return Listener{}, false
			}
			l.Kind = ListenKind(p.name)
			door = p.value
			door.key = "listen: " + p.name
		case "to":
			to = p.value
			to.key = "listen: to"
		default:
			unknownKey(p, "listen", append([]string{"to"}, listenKinds...))
			return Listener{}, false
		}
	}
	if l.Kind == "" {
		in.errorf("", "listen: want one of %s", oneOf(listenKinds))
		return Listener{}, false
	}
	return finishListener(in, l.Kind, door, to)
}

func finishListener(in input, kind ListenKind, door, to input) (Listener, bool) {
	takesTo := kind == ListenReverse || kind == ListenTCP
	switch {
	case takesTo && to.node == nil:
		example := "http://127.0.0.1:7001"
		if kind == ListenTCP {
			example = "127.0.0.1:6379"
		}
		in.errorf("add to: "+example, "listen: %s has no upstream", kind)
		return Listener{}, false
	case !takesTo && to.node != nil:
		to.errorf("reverse and tcp have one", "listen: %s takes no upstream", kind)
		return Listener{}, false
	}
	addr, ok := door.scalar("an address")
	if !ok {
		return Listener{}, false
	}
	if _, p := parseAddr(addr); p != nil {
		door.fail(p)
		return Listener{}, false
	}
	target := ""
	if takesTo {
		if target, ok = to.scalar("an upstream"); !ok {
			return Listener{}, false
		}
	}
	l, p := newListener(kind, addr, target)
	if p != nil {
		to.fail(p) // the address was right
	}
	return l, p == nil
}

func setConnectTo(c *Config, in input) {
	in, ok := in.asYAML()
	if !ok {
		return
	}
	pairs, ok := in.pairs()
	if !ok {
		in.fail(&problem{want: `a mapping such as {"api.example.com:443": "127.0.0.1:8443"}`})
		return
	}
	m := make(map[string]string, len(pairs))
	for _, p := range pairs {
		from, bad := parseHostPort(p.name)
		if bad != nil {
			p.key.fail(bad)
			continue
		}
		text, ok := p.value.scalar("HOST:PORT")
		if !ok {
			continue
		}
		to, bad := parseHostPort(text)
		if bad != nil {
			p.value.fail(bad)
			continue
		}
		m[strings.ToLower(from)] = to
	}
	c.Upstream.ConnectTo = m
}

func parseAdminAddr(s string) (string, *problem) {
	if s == "off" {
		return "", nil
	}
	addr, p := parseAddr(s)
	if p != nil {
		p.want += `, or "off"`
	}
	return addr, p
}

// minToken is 16 characters: 64 bits even where they are hexadecimal digits.
const minToken = 16

func parseToken(s string) (string, *problem) {
	for _, r := range s {
		if r <= ' ' || r > '~' {
			return "", &problem{want: "a token of printable ASCII without spaces"}
		}
	}
	if len(s) < minToken {
		return "", &problem{want: "a token of 16 characters or more", hint: "leave it out, and one is made"}
	}
	return s, nil
}

func parseHostName(s string) (string, *problem) {
	name := strings.ToLower(s)
	if !isHostName(name) {
		return "", &problem{want: `a host name such as "understudy.test"`}
	}
	return name, nil
}

// isLoopback reports whether a listening address is reachable from this machine
// only.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
