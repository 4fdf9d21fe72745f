package shaping

import (
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

func readClasses(t *testing.T, text string) ([]LinkClass, error) {
	t.Helper()
	b, err := NewBook()
	if err != nil {
		t.Fatal(err)
	}
	f := place.NewFile("classes.yaml", []byte(text))
	node, err := place.ParseYAML(f, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return b.ReadClasses(f, node)
}

func TestReadClasses(t *testing.T) {
	all, err := readClasses(t, `
- {name: database, to: "db.internal:5432", link: delay=80ms}
- name: partner
  to: ["*.partner.example", 10.0.0.0/8]
  up: delay=5ms
  link: {delay: 40ms, loss: 1%}
- {name: brownout, down: lte}
- {name: as it is, to: :6379, link: none}
`)
	if err != nil {
		t.Fatal(place.Detail(err))
	}
	var got []string
	for _, c := range all {
		var to []string
		for _, d := range c.To {
			to = append(to, d.String())
		}
		got = append(got, c.Name+" to "+strings.Join(to, " ")+": "+c.Link.String())
	}
	want := []string{
		"database to db.internal:5432: delay=80ms",
		"partner to *.partner.example 10.0.0.0/8: down delay=40ms,loss=1%; up delay=5ms",
		"brownout to : down delay=35ms,jitter=3ms,distribution=paretonormal,loss=0.05%,burst=3,rate=12mbit,queue=150ms; up unchanged",
		"as it is to :6379: ",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("ReadClasses =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := CheckClasses(all); err != nil {
		t.Error(err)
	}
}

func TestReadClassesRefuses(t *testing.T) {
	_, err := readClasses(t, `
- {name: a, too: x, link: lte}
- {to: a.test, link: lte}
- {name: b, to: a.test}
- {name: all, to: b.test, link: lte}
- {name: c, to: [c.test, "5432"], link: {delay: 40}}
- {name: d, to: d.test, link: lte}
- {name: e, to: [e.test, D.test], link: lte}
- lte
- {name: f, to: [], link: lte}
`)
	want := []string{
		`classes.yaml:2:13: unknown key "too"`,
		`classes.yaml:3:3: a class has no name`,
		`classes.yaml:4:3: class "b" has no conditions`,
		`classes.yaml:4:3: class "b": a.test is class ""'s already`,
		`classes.yaml:5:10: name: want another name, got "all"`,
		`classes.yaml:6:26: to: want a host, a network or a port, got "5432"`,
		`classes.yaml:6:49: delay: want a duration such as "40ms", got "40"`,
		`classes.yaml:8:3: class "e": d.test is class "d"'s already`,
		`classes.yaml:9:3: want a class's keys and values`,
		`classes.yaml:10:17: to: the list is empty`,
	}
	if err == nil {
		t.Fatal("ReadClasses took all of it")
	}
	if got := err.Error(); got != strings.Join(want, "\n") {
		t.Errorf("ReadClasses:\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if detail := place.Detail(err); !strings.Contains(detail, `did you mean "to"?`) || !strings.Contains(detail, "a port alone is written :5432") {
		t.Errorf("no hints in\n%s", detail)
	}
}

func TestCheckClasses(t *testing.T) {
	if err := CheckClasses([]LinkClass{{Name: "a"}, {Name: "a"}}); err == nil || !strings.Contains(err.Error(), `class "a" is there twice`) {
		t.Errorf("CheckClasses of two of one name: %v", err)
	}
	var many []LinkClass
	for i := range mostClasses + 1 {
		many = append(many, LinkClass{Name: strings.Repeat("x", i+1)})
	}
	if err := CheckClasses(many); err == nil || !strings.Contains(err.Error(), "at most 64 classes") {
		t.Errorf("CheckClasses of %d: %v", len(many), err)
	}
}

func TestReadTo(t *testing.T) {
	b, err := NewBook()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ text, want, err string }{
		{"db.internal:5432=delay=80ms", "db.internal:5432: delay=80ms", ""},
		{"10.0.0.0/8, *.test=lte,loss=2%,burst=3", "10.0.0.0/8, *.test: delay=35ms", ""},
		{":6379=none", ":6379: ", ""},
		{"delay=80ms", "", "delay is a condition"},
		{"db.internal", "", `want DEST=SPEC, got "db.internal"`},
		{"=lte", "", "want DEST=SPEC"},
		{"db internal=lte", "", "want a host, a network or a port"},
		{"db=delay=80", "", `db: delay: want a duration such as "40ms", got "80"`},
		{"db=lt", "", `db: want KEY=VALUE or a profile, got "lt"`},
		{"all=lte", "", "all its classes"},
	} {
		text := `"` + tt.text + `"`
		f := place.NewFile("--link-to", []byte(text))
		node, err := place.ParseYAML(f, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.ReadTo(f, node)
		switch {
		case tt.err == "" && err != nil, tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("ReadTo(%q): %v, want an error with %q", tt.text, err, tt.err)
		case err == nil && !strings.HasPrefix(c.Name+": "+c.Link.String(), tt.want):
			t.Errorf("ReadTo(%q) = %s: %s, want %s", tt.text, c.Name, c.Link, tt.want)
		}
	}
}
