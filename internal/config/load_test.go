package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

const full = `seed: 42
mode: replay
listen:
  - forward: 127.0.0.1:8080
  - {reverse: 127.0.0.1:9001, to: http://127.0.0.1:7001}
  - {tcp: ":9002", to: 127.0.0.1:6379}
  - transparent: "[::1]:0"
capture: namespace
publish: ["127.0.0.1:8080=80"]
output: out
cassettes: [cassettes/checkout, /abs]
on_miss: forward
timing: none
speed: 2.5
repeat: loop
rules:
  - name: slow
    delay: 20ms
rule_files: [rules.d]
match: {headers: [Accept]}
redaction: {headers: [X-Secret]}
transparent:
  install_rules: true
  ports: [80, "8000-8999"]
  skip_ports: [8443]
  skip: [10.1.2.3/8, "2001:db8::7"]
  skip_uids: [65532]
intercept:
  pass: ["*.Bank.example"]
  only: [api.example.com, "*.example.com"]
  ca_dir: ca
upstream:
  insecure: true
  ca_file: roots.pem
  connect_to: {"API.example.com:443": "127.0.0.1:8443"}
  timeouts: {connect: 1s, tls: 2s, response_header: 3s, unacknowledged: 4s, idle: 1m}
admin:
  addr: 127.0.0.1:9900
  token: 0123456789abcdef
  allow_remote: false
  open_metrics: true
  hosts: [Understudy.test]
log: {level: debug, format: json, access: true}
server_timing: true
link:
  down: {delay: 40ms}
  up: lte
  to: ["db.internal:5432=delay=80ms,loss=1%"]
  classes:
    - {name: cache, to: ":6379", link: none}
  steps:
    - {name: tunnel, during: 2m..3m, outage: true}
  engine: tun
  verify: true
limits: {body_memory: 2MiB, queue_bytes: 10MB, head_bytes: 32KiB}
`

func TestEveryKeyIsRead(t *testing.T) {
	c, err := Parse("etc/understudy.yaml", []byte(full), nil, nil)
	if err != nil {
		t.Fatal(place.Detail(err))
	}
	if len(c.Link.To) != 1 || c.Link.To[0].Node.String() != `"db.internal:5432=delay=80ms,loss=1%"` {
		t.Errorf("link.to = %v, want one", c.Link.To)
	}
	c.Link.To = nil
	for name, section := range map[string]*Section{"rules": &c.Rules, "link.classes": &c.Link.Classes, "link.down": &c.Link.Down, "link.up": &c.Link.Up, "link.steps": &c.Link.Steps} {
		if section.IsZero() {
			t.Errorf("section %s is missing", name)
		}
		*section = Section{}
	}
	for _, k := range keys {
		if k.Name != "link" && k.Name != "admin.token_file" && !c.IsSet(k.Name) {
			t.Errorf("IsSet(%s) = false, want true", k.Name)
		}
	}
	c.origins = nil
	want := &Config{
		File: "etc/understudy.yaml", Seed: 42, Mode: ModeReplay, Output: "etc/out",
		Listen: []Listener{
			{ListenForward, "127.0.0.1:8080", ""},
			{ListenReverse, "127.0.0.1:9001", "http://127.0.0.1:7001"},
			{ListenTCP, "127.0.0.1:9002", "127.0.0.1:6379"},
			{ListenTransparent, "[::1]:0", ""},
		},
		Capture: CaptureNamespace, Publish: []Publish{{netip.MustParseAddrPort("127.0.0.1:8080"), 80}},
		Cassettes: []string{"etc/cassettes/checkout", "/abs"}, OnMiss: MissForward, Timing: TimingNone, Speed: 2.5, Repeat: RepeatLoop,
		RuleFiles: []string{"etc/rules.d"}, Match: cassette.Match{Headers: []string{"Accept"}}, Redaction: redact.Config{Headers: []string{"X-Secret"}},
		Transparent: Transparent{InstallRules: true, Ports: []Ports{{80, 80}, {8000, 8999}}, SkipPorts: []Ports{{8443, 8443}},
			Skip: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::7/128")}, SkipUIDs: []uint32{65532}},
		Intercept: Intercept{Pass: []string{"*.bank.example"}, Only: []string{"api.example.com", "*.example.com"}, CADir: "etc/ca"},
		Upstream: Upstream{Insecure: true, CAFile: "etc/roots.pem", ConnectTo: map[string]string{"api.example.com:443": "127.0.0.1:8443"},
			Timeouts: Timeouts{Connect: time.Second, TLS: 2 * time.Second, ResponseHeader: 3 * time.Second, Unacknowledged: 4 * time.Second, Idle: time.Minute}},
		Admin:        Admin{Addr: "127.0.0.1:9900", Token: "0123456789abcdef", OpenMetrics: true, Hosts: []string{"understudy.test"}},
		Log:          Log{Level: "debug", Format: "json", Access: true},
		ServerTiming: true,
		Link:         Link{Engine: EngineTUN, Verify: true},
		Limits:       Limits{BodyMemory: 2 << 20, QueueBytes: 10_000_000, HeadBytes: 32 << 10},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("Parse(full) =\n%+v, want\n%+v", c, want)
	}
}

func TestSectionsKeepTheirPlaces(t *testing.T) {
	c, err := Parse("u.yaml", []byte("seed: 1\nrules:\n  - name: a\n    wen: x\n"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var rules []struct {
		Name string `yaml:"name"`
	}
	err = place.DecodeYAML(c.Rules.File, c.Rules.Node, &rules)
	var e *place.Error
	if !errors.As(err, &e) || e.Place() != "u.yaml:4:5" {
		t.Errorf("DecodeYAML of the rules = %v, want an error at u.yaml:4:5", err)
	}
}

// The words are package redact's; the place is ours.
func TestRedactionIsChecked(t *testing.T) {
	_, err := Parse("u.yaml", []byte("redaction:\n  patterns: ['(']\n"), nil, nil)
	if want := "u.yaml:2:3: redaction: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Parse = %v, want %s…", err, want)
	}
}

// The parser takes a minute for what this refuses at once.
func TestDeepNestingIsRefused(t *testing.T) {
	_, err := Parse("u.yaml", []byte("seed: 1\nrules: "+strings.Repeat("[", 100_000)), nil, nil)
	if want := "u.yaml:2:508: brackets are nested more than 500 deep"; err == nil || err.Error() != want {
		t.Errorf("Parse = %.100v, want %s", err, want)
	}
}

func TestErrors(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"unknown key", "on-miss: fail\n", `u.yaml:1:1: unknown key "on-miss"
    on-miss: fail
    ^
hint: did you mean "on_miss"?`},
		{"unknown key below", "admin:\n  tokn: x\n", `u.yaml:2:3: unknown key "tokn" in admin
      tokn: x
      ^
hint: did you mean "token"?`},
		{"nothing near", "upstream: {zzz: 1}\n", `u.yaml:1:12: unknown key "zzz" in upstream
    upstream: {zzz: 1}
               ^
hint: known keys: insecure, ca_file, connect_to, timeouts`},
		{"bare duration", "upstream:\n  timeouts:\n    connect: 10\n", `u.yaml:3:14: upstream.timeouts.connect: want a duration such as "40ms", got "10"
        connect: 10
                 ^
hint: a number needs a unit: us, ms, s`},
		{"negative duration", "upstream: {timeouts: {idle: -1s}}", `u.yaml:1:29: upstream.timeouts.idle: want a duration of 0 or more, got "-1s"
    upstream: {timeouts: {idle: -1s}}
                                ^`},
		{"impatience", "upstream: {timeouts: {unacknowledged: 1ms}}", `u.yaml:1:39: upstream.timeouts.unacknowledged: want 0 or a duration of 1s or more, got "1ms"
    upstream: {timeouts: {unacknowledged: 1ms}}
                                          ^
hint: upstreams that are alive may take half a second to acknowledge`},
		{"enum", "timing: recorder\n", `u.yaml:1:9: timing: want none, recorded or model, got "recorder"
    timing: recorder
            ^
hint: did you mean "recorded"?`},
		{"speed", "speed: 0\n", `u.yaml:1:8: speed: want a number above 0, got "0"
    speed: 0
           ^
hint: 2 is twice as fast, 0.5 half as fast; for no waiting at all use timing: none`},
		{"size", "limits: {body_memory: 1e9}\n", `u.yaml:1:23: limits.body_memory: want a size such as "64MiB", got "1e9"
    limits: {body_memory: 1e9}
                          ^
hint: units are B, KB, MB, GB (1000) and KiB, MiB, GiB (1024); a bare number is bytes`},
		{"bool", "server_timing: yes\n", `u.yaml:1:16: server_timing: want true or false, got "yes"
    server_timing: yes
                   ^`},
		{"group is a scalar", "log: debug\n", `u.yaml:1:6: log: want a mapping with level, format or access, got "debug"
    log: debug
         ^`},
		{"scalar is a list", "mode: [replay]\n", `u.yaml:1:7: mode: want one value, got a list
    mode: [replay]
          ^`},
		{"list is a scalar", "cassettes: a\n", `u.yaml:1:12: cassettes: want a list of paths, got "a"
    cassettes: a
               ^
hint: write each on a line of its own after a dash, or in [ ]`},
		{"ports", "transparent: {ports: [80, 90-80]}\n", `u.yaml:1:27: transparent.ports: want a port such as "443", or ports such as "8000-8999", got "90-80"
    transparent: {ports: [80, 90-80]}
                              ^
hint: the lower one comes first`},
		{"network", "transparent: {skip: [db.internal]}\n", `u.yaml:1:22: transparent.skip: want a network such as "10.0.0.0/8", or an address, got "db.internal"
    transparent: {skip: [db.internal]}
                         ^
hint: rules of netfilter know no names`},
		{"user", "transparent: {skip_uids: [nobody]}\n", `u.yaml:1:27: transparent.skip_uids: want a user's number, such as 65532, got "nobody"
    transparent: {skip_uids: [nobody]}
                              ^
hint: id -u NAME tells it`},
		{"tilde", "output: ~/x\n", `u.yaml:1:9: output: want a path, got "~/x"
    output: ~/x
            ^
hint: ~ is expanded by shells only: write the whole path`},
		{"reverse without to", "listen:\n  - reverse: :1\n", `u.yaml:2:5: listen: reverse has no upstream
      - reverse: :1
        ^
hint: add to: http://127.0.0.1:7001`},
		{"forward with to", "listen: [{forward: :1, to: x}]\n", `u.yaml:1:28: listen: forward takes no upstream
    listen: [{forward: :1, to: x}]
                               ^
hint: reverse and tcp have one`},
		{"reverse with a path", "listen: [{reverse: :1, to: http://a/b}]\n", `u.yaml:1:28: listen: to: want a URL such as "http://127.0.0.1:7001", got "http://a/b"
    listen: [{reverse: :1, to: http://a/b}]
                               ^
hint: only scheme, host and port: the request brings its own path`},
		{"two kinds", "listen: [{forward: :1, tcp: :2}]\n", `u.yaml:1:24: listen: one listener has forward and tcp
    listen: [{forward: :1, tcp: :2}]
                           ^
hint: begin another item with a dash`},
		{"star", "listen: [{forward: \"*:1\"}]\n", `u.yaml:1:20: listen: forward: want an address such as "127.0.0.1:8080" or ":8080", got "*:1"
    listen: [{forward: "*:1"}]
                       ^
hint: to listen on every interface, say 0.0.0.0 or [::]`},
		{"same port", "listen: [{forward: :1}, {forward: localhost:1}]\n", `u.yaml:1:9: listen: 127.0.0.1:1 is taken by listen forward 127.0.0.1:1
    listen: [{forward: :1}, {forward: localhost:1}]
            ^
hint: give each a port of its own`},
		{"host pattern", "intercept: {pass: [\"a.*.b\"]}\n", `u.yaml:1:20: intercept.pass: want a host such as "api.example.com", "*.example.com" or "*", got "a.*.b"
    intercept: {pass: ["a.*.b"]}
                       ^
hint: a star stands alone or at the start, before a dot`},
		{"secret stays out", "admin: {token: short-secret}\n", `u.yaml:1:16: admin.token: want a token of 16 characters or more, got something else
hint: leave it out, and one is made`},
		{"remote admin", "admin: 0.0.0.0:9900\n", `u.yaml:1:8: admin.addr: 0.0.0.0:9900 can be reached from other machines
    admin: 0.0.0.0:9900
           ^
hint: use 127.0.0.1, or set admin.allow_remote: true`},
		{"two tokens", "admin:\n  token: 0123456789abcdef\n  token_file: t\n", `u.yaml:3:15: admin: both token (from u.yaml:2:10) and token_file are given
      token_file: t
                  ^
hint: keep one of them`},
		{"no cassette", "mode: replay\n", `u.yaml:1:7: mode: replay has no cassette to answer from
    mode: replay
          ^
hint: name one with cassettes: [DIR] or -f DIR`},
		{"rules is a file", "rules: rules.yaml\n", `u.yaml:1:8: rules: want a list of rules, got "rules.yaml"
    rules: rules.yaml
           ^
hint: rule_files and --rules take files`},
		{"alias", "seed: &a 1\nspeed: *a\n", `u.yaml:1:7: anchors are not read in a configuration
    seed: &a 1
          ^
hint: write the value out
u.yaml:2:8: aliases are not read in a configuration
    speed: *a
           ^
hint: write the value out`},
		{"several at once", "sed: 1\ntiming: 1\nlog: {levl: x}\n", `u.yaml:1:1: unknown key "sed"
    sed: 1
    ^
hint: did you mean "seed"?
u.yaml:2:9: timing: want none, recorded or model, got "1"
    timing: 1
            ^
u.yaml:3:7: unknown key "levl" in log
    log: {levl: x}
          ^
hint: did you mean "level"?`},
		{"not a mapping", "- a\n", `u.yaml:1:1: want a mapping of keys such as seed, mode, listen
    - a
    ^`},
		{"redaction's own key", "redaction:\n  header: [a]\n", `u.yaml:2:3: redaction: unknown field "header"
      header: [a]
      ^`},
		{"connect_to", "upstream: {connect_to: {a: b}}\n", `u.yaml:1:25: upstream.connect_to: want HOST:PORT such as "127.0.0.1:6379", got "a"
    upstream: {connect_to: {a: b}}
                            ^`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := Parse("u.yaml", []byte(tc.in), nil, nil)
			if err == nil {
				t.Fatalf("Parse(%q) = %+v, want an error", tc.in, c)
			}
			if got := place.Detail(err); got != tc.want {
				t.Errorf("Parse(%q) =\n%s\nwant\n%s", tc.in, got, tc.want)
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	file := []byte("speed: 2\nseed: 2\ntiming: none\ncassettes: [file]\nlisten: [{forward: :1}]\n")
	env := []string{"UNDERSTUDY_SPEED=3", "UNDERSTUDY_SEED=3", "UNDERSTUDY_TIMING=", "HOME=/", "UNDERSTUDY_CASSETTES=a,b",
		"UNDERSTUDY_PORT=tcp://10.0.0.1:80", "UNDERSTUDY_SERVICE_HOST=10.0.0.1", "UNDERSTUDY_WEB_PORT_80_TCP_ADDR=10.0.0.1", "UNDERSTUDY_CONFIG=x.yaml"}
	flags := []Override{
		{"speed", "4", "--speed"},
		{"rule_files", "x.yaml", "--rules"}, {"rule_files", "y,z.yaml", "--rules"},
		{"listen.reverse", ":2=http://a", "--reverse"}, {"listen.tcp", ":3=a:1", "--tcp"},
	}
	c, err := Parse("u.yaml", file, env, flags)
	if err != nil {
		t.Fatal(place.Detail(err))
	}
	if c.Speed != 4 || c.Seed != 3 || c.Timing != TimingNone || c.OnMiss != MissFail {
		t.Errorf("speed, seed, timing, on_miss = %v %v %v %v, want 4 3 none fail", c.Speed, c.Seed, c.Timing, c.OnMiss)
	}
	if want := []string{"a", "b"}; !reflect.DeepEqual(c.Cassettes, want) {
		t.Errorf("Cassettes = %q, want %q", c.Cassettes, want)
	}
	if want := []string{"x.yaml", "y,z.yaml"}; !reflect.DeepEqual(c.RuleFiles, want) {
		t.Errorf("RuleFiles = %q, want %q", c.RuleFiles, want)
	}
	if want := []Listener{{ListenReverse, "127.0.0.1:2", "http://a"}, {ListenTCP, "127.0.0.1:3", "a:1"}}; !reflect.DeepEqual(c.Listen, want) {
		t.Errorf("Listen = %v, want %v", c.Listen, want)
	}
	for key, want := range map[string]string{"speed": "from --speed", "seed": "from UNDERSTUDY_SEED", "timing": "from u.yaml:3:9", "on_miss": "default", "listen": "from --tcp"} {
		if got := c.Origin(key).String(); got != want {
			t.Errorf("Origin(%s) = %q, want %q", key, got, want)
		}
	}
}

func TestOutsideErrors(t *testing.T) {
	for _, tc := range []struct {
		env   []string
		flags []Override
		want  string
	}{
		{[]string{"UNDERSTUDY_SPEED=fast"}, nil, `UNDERSTUDY_SPEED: speed: want a number above 0, got "fast"
hint: 2 is twice as fast, 0.5 half as fast; for no waiting at all use timing: none`},
		{[]string{"UNDERSTUDY_SPEEED=1"}, nil, `UNDERSTUDY_SPEEED: unknown environment variable
hint: did you mean "UNDERSTUDY_SPEED"?`},
		{[]string{"UNDERSTUDY_LISTEN=[{forwrd: :1}]"}, nil, `UNDERSTUDY_LISTEN:1:3: unknown key "forwrd" in listen
    [{forwrd: :1}]
      ^
hint: did you mean "forward"?`},
		{nil, []Override{{"listen.tcp", ":1", "--tcp"}}, `--tcp: listen: want ADDR=HOST:PORT, got ":1"
hint: such as --tcp :9002=127.0.0.1:6379`},
		{nil, []Override{{"admin", "0.0.0.0:1", "--admin"}}, `--admin: admin.addr: 0.0.0.0:1 can be reached from other machines
hint: use 127.0.0.1, or set admin.allow_remote: true`},
		{nil, []Override{{Key: "on_mis", Value: "fail"}}, `--set: unknown key "on_mis"
hint: did you mean "on_miss"?`},
		{nil, []Override{{Key: "upstream.timeouts.connect", Value: "soon"}}, `--set upstream.timeouts.connect: want a duration such as "40ms", got "soon"
hint: a number needs a unit: us, ms, s`},
		{nil, []Override{{Key: "redaction", Value: "{patterns: ['(']}"}}, `--set redaction:1:1: patterns: entry 1, "(": error parsing regexp: missing closing ): ` + "`(`" + `
    {patterns: ['(']}
    ^`},
		{nil, []Override{{Key: "limits.head_bytes", Value: "1B"}}, `--set limits.head_bytes: want 1KiB to 16MiB, got 1 bytes`},
		{nil, []Override{{"seed", "x", "--seed"}}, `--seed: want a whole number from 0 to 18446744073709551615, got "x"`},
		{nil, []Override{{Key: "listen.udp", Value: ":1", From: "--udp"}}, `--udp: listen: want a listener of kind forward, reverse, tcp or transparent, got ":1"`},
		{nil, []Override{{Key: "mode", Value: "replay", From: "understudy replay"}}, `understudy replay: mode: replay has no cassette to answer from
hint: name one with cassettes: [DIR] or -f DIR`},
	} {
		_, err := Parse("", nil, tc.env, tc.flags)
		if err == nil {
			t.Errorf("Parse(%q, %v) gave no error", tc.env, tc.flags)
			continue
		}
		if got := place.Detail(err); got != tc.want {
			t.Errorf("Parse(%q, %v) =\n%s\nwant\n%s", tc.env, tc.flags, got, tc.want)
		}
	}
}

// A destination's conditions have commas between them, and no YAML: what is not a list of
// quoted texts is one of them. What a flag says several times are several.
func TestLinkTo(t *testing.T) {
	for _, tt := range []struct {
		env   string
		flags []string
		want  []string
	}{
		{"*.a.test:5432=delay=1ms,loss=1%", nil, []string{"*.a.test:5432=delay=1ms,loss=1%"}},
		{"[2001:db8::1]:443=lte", nil, []string{"[2001:db8::1]:443=lte"}},
		{`["a=lte", ":1,:2=delay=1ms,loss=1%"]`, nil, []string{"a=lte", ":1,:2=delay=1ms,loss=1%"}},
		{"a=lte", []string{"*=3g", "b=delay=1ms,loss=1%"}, []string{"*=3g", "b=delay=1ms,loss=1%"}},
	} {
		var overrides []Override
		for _, f := range tt.flags {
			overrides = append(overrides, Override{"link.to", f, "--link-to"})
		}
		c, err := Parse("", []byte("link: {to: [file=lte]}"), []string{"UNDERSTUDY_LINK_TO=" + tt.env}, overrides)
		if err != nil {
			t.Error(place.Detail(err))
			continue
		}
		var got []string
		for _, s := range c.Link.To {
			text, _ := s.File.Scalar(s.Node)
			got = append(got, text.Text)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("link.to of %s and %q = %q, want %q", tt.env, tt.flags, got, tt.want)
		}
	}
	if _, err := Parse("f.yaml", []byte("link: {to: a=lte}"), nil, nil); err == nil || !strings.Contains(place.Detail(err), "f.yaml:1:12: link.to: want a list of destinations") {
		t.Errorf("link.to as a text: %v", err)
	}
}

// A file that is read again has the same environment and flags above it.
func TestAgain(t *testing.T) {
	c, err := Parse("f.yaml", []byte("speed: 2\nseed: 1\n"), []string{"UNDERSTUDY_SEED=7"}, []Override{{Key: "on_miss", Value: "forward"}})
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Again([]byte("speed: 3\nseed: 2\non_miss: record\n"))
	if err != nil {
		t.Fatal(err)
	}
	if again.Speed != 3 || again.Seed != 7 || again.OnMiss != MissForward || again.File != "f.yaml" || c.Speed != 2 {
		t.Errorf("Again = %+v from %+v, want the new speed below the old environment and flags", again, c)
	}
	if _, err := c.Again([]byte("speed: fast\n")); err == nil || !strings.Contains(err.Error(), "f.yaml:1:8") {
		t.Errorf("Again = %v, want an error with its place", err)
	}
}

func TestEnvReachesEveryKey(t *testing.T) {
	structured := map[string]string{"listen": "[{forward: :1}]", "rules": "[{name: a}]", "match": "{headers: [A]}", "redaction": "{headers: [A]}",
		"upstream.connect_to": `{"a:1": "b:2"}`, "link": "lte", "link.down": "delay=1ms", "link.up": "{loss: 1%}", "link.steps": "[{name: a}]", "link.to": "a=lte", "link.classes": "[{name: a}]",
		"seed": "7", "publish": "8080=80", "output": "o", "cassettes": "a", "rule_files": "[a, b]", "intercept.pass": "*", "transparent.ports": "80,8000-8999", "transparent.skip": "10.0.0.0/8,::1", "transparent.skip_uids": "65532", "intercept.only": "a,b", "intercept.ca_dir": "d",
		"upstream.ca_file": "f", "admin.token": "0123456789abcdef", "admin.token_file": "f", "admin.hosts": "a.test"}
	for _, k := range keys {
		value := k.Default
		if value == "" {
			value = structured[k.Name]
		}
		c, err := Parse("", nil, []string{k.Env + "=" + value}, nil)
		if err != nil {
			t.Errorf("%s=%s: %v", k.Env, value, err)
			continue
		}
		if got := c.Origin(k.Name).Name; got != k.Env {
			t.Errorf("Origin(%s) = %q, want %q", k.Name, got, k.Env)
		}
		if k.Default == "" {
			continue
		}
		c.origins, c.env = map[string]Origin{}, nil // where it comes from; Again needs it
		if want := Default(); !reflect.DeepEqual(c, want) {
			t.Errorf("%s=%s, its default, gives\n%+v, want\n%+v", k.Env, value, c, want)
		}
	}
}

// The table of keys and the struct must name the same keys: a key that is only
// in one of them is never read, or never set.
func TestKeysAreTheStructs(t *testing.T) {
	tagged := map[string]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			switch tag := f.Tag.Get("key"); {
			case tag == "-" || !f.IsExported():
			case tag != "":
				tagged[tag] = true
			default:
				walk(f.Type)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
	for _, k := range keys {
		if !tagged[k.Name] {
			t.Errorf("key %s has no field", k.Name)
		}
		delete(tagged, k.Name)
	}
	for name := range tagged {
		t.Errorf("field %s has no key", name)
	}
}

func TestEveryKeyIsDocumented(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if cells := strings.Split(line, "|"); len(cells) > 5 {
			rows[strings.Trim(cells[1], " `")] = line
		}
	}
	for _, k := range keys {
		row, ok := rows[k.Name]
		if !ok {
			t.Errorf("docs/configuration.md has no row for %s", k.Name)
			continue
		}
		for _, want := range []string{"`" + k.Env + "`", k.Flag, k.Default} {
			if !strings.Contains(row, want) {
				t.Errorf("docs/configuration.md: the row of %s lacks %s", k.Name, want)
			}
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, FileName)
	if err := os.WriteFile(name, []byte("output: o\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(name, nil, nil)
	if err != nil || c.Output != filepath.Join(dir, "o") {
		t.Errorf("Load = %+v, %v, want output in the file's directory", c, err)
	}
	_, err = Load(filepath.Join(dir, "none.yaml"), nil, nil)
	if want := filepath.Join(dir, "none.yaml") + ": no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("Load(none.yaml) = %v, want %s", err, want)
	}
	if _, err = Load(dir, nil, nil); err == nil || err.Error() != dir+": is a directory" {
		t.Errorf("Load(directory) = %v, want %s: is a directory", err, dir)
	}
	if c, err = Load("", nil, nil); err != nil || len(c.validate()) > 0 {
		t.Errorf("Load of nothing = %v, want the defaults", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("listen: [{reverse: '[::1]:0', to: 'https://h:1'}]\nadmin: off\nlink: 'delay=1ms'\n"))
	f.Add([]byte("? a\n: b\n<<: *x\n!!t k: &a {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("u.yaml", data, nil, nil)
		if err != nil {
			var l place.List
			if !errors.As(err, &l) || len(l) == 0 || place.Detail(err) == "" {
				t.Fatalf("Parse(%q) = %T, want a place.List", data, err)
			}
			return
		}
		// What was taken must hold, and what was taken as text must be taken again.
		if errs := c.validate(); len(errs) > 0 {
			t.Fatalf("Parse(%q) gave what validate refuses: %v", data, errs)
		}
		for _, l := range c.Listen {
			value := l.Addr
			if l.To != "" {
				value += "=" + l.To
			}
			if again, p := parseListen(l.Kind, value); p != nil || again != l {
				t.Fatalf("parseListen(%s, %q) = %v, %v, want %v", l.Kind, value, again, p, l)
			}
		}
	})
}
