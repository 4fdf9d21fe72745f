package app

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/admin"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/telemetry"
	"github.com/understudy-proxy/understudy/proxy/wire"
	"github.com/understudy-proxy/understudy/rules"
	"github.com/understudy-proxy/understudy/shaping"
)

func TestClassesOf(t *testing.T) {
	p := linked(t, `
link:
  to: ["c.test=lte"]
  classes:
    - {name: a, to: a.test, link: delay=1ms}
    - {name: b, link: none}
`, config.Override{Key: "link.to", Value: "d.test=delay=2ms,loss=1%", From: "--link-to"},
		config.Override{Key: "link.to", Value: "*=3g", From: "--link-to"})
	plan := p.linkPlan.Load()
	// Those of the command line stand in the place of the file's, and before its classes.
	if got, want := shaping.ClassNames(plan.Classes()), []string{"d.test", "*", "a", "b"}; !reflect.DeepEqual(got, want) {
		t.Errorf("classes = %q, want %q", got, want)
	}
	if !p.carries() {
		t.Error("carries = false: classes are for the engine tun")
	}
	if linked(t, "link: lte").carries() {
		t.Error("carries = true for a link without classes")
	}
}

func TestClassesWithNetem(t *testing.T) {
	c, err := config.Parse("understudy.yaml", []byte("link:\n  engine: netem\n  classes:\n    - {name: a, link: lte}\n"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = timelineOf(c, 1); err == nil || !strings.Contains(place.Detail(err), "understudy.yaml:4:5: link: the engine netem has one link for all") ||
		!strings.Contains(place.Detail(err), "hint: --link-engine tun") {
		t.Errorf("timelineOf = %v, want classes refused with their place", err)
	}
	// A run whose link is netem's, by auto, does not get classes by a saved file.
	p := linked(t, "link: {down: {delay: 1ms}}\n")
	p.shapedNow.Store(&shaped{engine: config.EngineNetem})
	if err := save(p, "link: {down: {delay: 1ms}, classes: [{name: a, link: lte}]}\n"); err == nil || !strings.Contains(err.Error(), "the engine netem has one link for all") {
		t.Errorf("saved classes: %v, want them refused", err)
	}
}

// A saved file is refused where its rules and its classes do not fit, and what fits comes
// together.
func TestSavedClasses(t *testing.T) {
	const before = "link: {classes: [{name: a, link: lte}]}\nrules: [{name: r, link: a}]\n"
	p := linked(t, before)
	for _, tt := range []struct {
		text, err string
		classes   []string
	}{
		{before + "# a comment\n", "", []string{"a"}},
		{"link: {classes: [{name: a, link: lte}]}\nrules: [{name: r, link: b}]\n", `2:25: link: there is no class "b"`, []string{"a"}},
		{"link: {classes: [{name: b, link: lte}]}\nrules: [{name: r, link: a}]\n", `2:25: link: there is no class "a"`, []string{"a"}},
		{"link: {classes: [{name: b, link: lte}]}\nrules: [{name: r, link: b}]\n", "", []string{"b"}},
		{"link: {classes: [{name: b, to: b.test, link: lte}], to: [c.test=3g]}\n", "", []string{"c.test", "b"}},
		{"link: {classes: [{name: b, too: b.test, link: lte}]}\n", "1:28: unknown key", []string{"c.test", "b"}},
		{"link: {down: lte}\n", "", []string{}},
		{"seed: 3\n", "", []string{}},
	} {
		switch err := save(p, tt.text); {
		case tt.err == "" && err != nil, tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("saved %q: %v, want an error with %q", tt.text, err, tt.err)
		}
		if got := shaping.ClassNames(p.linkPlan.Load().Classes()); !reflect.DeepEqual(got, tt.classes) {
			t.Errorf("after %q the classes are %q, want %q", tt.text, got, tt.classes)
		}
	}
}

func TestKnownClassesWithoutALink(t *testing.T) {
	set, err := rules.Parse([]rules.Source{{Name: "rules.yaml", Data: []byte("rules:\n  - {name: a, link: slow}\n  - {name: b, delay: 1ms}\n")}}, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := knownClasses(set, nil); err == nil || place.Detail(err) != `rules.yaml:2:21: link: there is no class "slow"
      - {name: a, link: slow}
                        ^
hint: link.classes in the configuration declares them: - {name: slow, link: delay=80ms}` {
		t.Errorf("knownClasses = %v", place.Detail(err))
	}
}

// A timeline changes classes in place, and what is told of a link tells of them.
func TestHeldClasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := holdFor(t, `
link:
  down: {delay: 40ms}
  classes:
    - {name: db, to: db.test, link: delay=1ms}
    - {name: other, link: none}
  steps:
    - {name: failover, during: 1m..2m, class: db, outage: true}
    - {name: tunnel, during: 3m..4m, class: all, link: {loss: 5%}}
`)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		x.end(t)
		want := []string{
			"0s down delay=40ms; up limit=1000; class db delay=1ms; class other ",
			"1m0s down delay=40ms; up unchanged; class db delay=1ms,loss=100%; class other ",
			"2m0s down delay=40ms; up unchanged; class db delay=1ms; class other ",
			"3m0s down delay=40ms,loss=5%; up loss=5%; class db delay=1ms,loss=5%; class other loss=5%",
			"4m0s down delay=40ms; up unchanged; class db delay=1ms; class other ",
		}
		if !reflect.DeepEqual(x.link.links, want) {
			t.Errorf("the link had\n%s\nwant\n%s", strings.Join(x.link.links, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestLinkStateOfClasses(t *testing.T) {
	p := linked(t, "link: {classes: [{name: db, to: [db.test, \":1\"], up: delay=1ms}]}")
	p.start = time.Now()
	classes := p.linkPlan.Load().Classes()
	link := &fakeLink{start: p.start, classes: classes}
	s := &shaped{inForce: link, engine: "fake"}
	s.held = held{link: link, start: p.start, plan: &p.linkPlan, isNew: p.linkIsNew, tell: func(change) {}}
	s.moved.add("db")
	s.moved.add("db")
	p.shaped = s
	p.shapedNow.Store(s)
	want := []admin.LinkClass{{Name: "db", To: []string{"db.test", ":1"}, Moved: 2, Directions: []admin.LinkDirection{
		{Direction: "down"}, {Direction: "up", Conditions: "delay=1ms", SentPackets: 5}}}}
	if got := p.linkNow().Classes; !reflect.DeepEqual(got, want) {
		t.Errorf("linkNow has classes %+v, want %+v", got, want)
	}
	stats, _ := p.linkStats()
	if got := stats.Directions[telemetry.LinkPart{Class: "db", Direction: "up"}].SentPackets; got != 5 || stats.Moved["db"] != 2 {
		t.Errorf("linkStats = %+v", stats)
	}
	p.countLink()
	if got, want := p.linkText(), "  class db, into which rules put 2 connections:\n    up    5 packets"; !strings.Contains(got, want) {
		t.Errorf("linkText = %q, want %q", got, want)
	}
	if _, ok := p.linkReport()["classes"]; !ok {
		t.Error("linkReport has no classes")
	}
}

// Only a captured command's connections that have a link are moved.
func TestFlowOf(t *testing.T) {
	addr := func(text string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", text)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	user := addr("198.19.255.2:40000")
	for _, tt := range []struct {
		conn wire.Conn
		ok   bool
	}{
		{wire.Conn{Door: doorOfCommand, Client: user, Local: addr("198.18.0.1:80")}, true},
		{wire.Conn{Door: doorOfCommand, Client: user, Local: addr("[2001:db8::1]:80")}, true},
		{wire.Conn{Door: doorOfCommand, Client: user, Local: addr("127.0.0.1:80")}, false},
		{wire.Conn{Door: doorOfCommand, Client: user, Local: addr("[::1]:80")}, false},
		{wire.Conn{Door: "forward http://127.0.0.1:8080", Client: user, Local: addr("198.18.0.1:80")}, false},
		{wire.Conn{Door: doorOfCommand, Client: user}, false},
	} {
		if f, ok := flowOf(&tt.conn); ok != tt.ok {
			t.Errorf("flowOf(%+v) = %v, %v, want %v", tt.conn, f, ok, tt.ok)
		}
	}
	var none *shaped
	none.move(&wire.Conn{Door: doorOfCommand, Client: user, Local: user}, "a") // there is no link
	none.left(&wire.Conn{})
}

// What check says of rules in files of their own is what the run would.
func TestCheckClasses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "understudy.yaml")
	for name, text := range map[string]string{
		"understudy.yaml": "link: {classes: [{name: a, link: lte}, {name: b, link: lte}]}\nrules: [{name: r, link: a}]\nrule_files: [good.yaml, bad.yaml]\n",
		"good.yaml":       "rules: [{name: s, link: a}]\n",
		"bad.yaml":        "rules: [{name: t, link: c}]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := Check([]string{path})
	if len(all) != 3 || len(all[0].Errors) != 1 || !strings.Contains(all[0].Errors[0].Error(), "bad.yaml:1:25: link: there is no class \"c\"") {
		t.Errorf("Check = %+v", all)
	}
	if len(all[0].Warnings) != 1 || !strings.Contains(all[0].Warnings[0].Error(), `understudy.yaml:1:40: link: class "b": nothing belongs to it`) {
		t.Errorf("Check warns of %v", all[0].Warnings)
	}
}
