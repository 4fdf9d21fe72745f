package shaping

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

func book(t *testing.T) *Book {
	t.Helper()
	b, err := NewBook()
	if err != nil {
		t.Fatal(place.Detail(err))
	}
	return b
}

// Each packaged profile parses, says where it is from, resolves, encodes, and has no
// finding that is worse than a note.
func TestProfiles(t *testing.T) {
	all := book(t).profiles
	for _, want := range []string{"2g", "3g", "4g", "lte", "5g", "dsl", "cable", "leo", "geo", "transatlantic", "wifi", "lossy-office"} {
		if !slices.ContainsFunc(all, func(p Profile) bool { return p.Name == want }) {
			t.Errorf("no profile %s", want)
		}
	}
	docs, err := os.ReadFile("../docs/links.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.About == "" || p.Source == "" {
			t.Errorf("%s: about %q, source %q: want both", p.Name, p.About, p.Source)
		}
		for _, c := range []Conditions{p.Link.Down, p.Link.Up} {
			r, how := c.Resolve()
			if r.Limit == 0 || how == "" {
				t.Errorf("%s: limit %d because %q", p.Name, r.Limit, how)
			}
			if back, _, err := r.wire(); err != nil || len(Difference(r, back)) > 0 && c.Burst == 0 {
				t.Errorf("%s: %v, %v", p.Name, Difference(r, back), err)
			}
		}
		for _, f := range Lint(p.Link) {
			if f.Level != Note {
				t.Errorf("%s: %s", p.Name, f)
			}
		}
		row := fmt.Sprintf("| `%s` | %s | %s | %s | %s |", p.Name, p.About, codeOf(p.Link.Down), codeOf(p.Link.Up), p.Source)
		if !strings.Contains(string(docs), row) {
			t.Errorf("docs/links.md has no row\n%s", row)
		}
	}
}

func codeOf(c Conditions) string { return "`" + strings.ReplaceAll(c.String(), ",", " ") + "`" }

func TestBookParse(t *testing.T) {
	b := book(t)
	lte, err := b.Parse("lte")
	if err != nil || lte.Down.Rate != 12_000_000 || lte.Down.Delay != 35*time.Millisecond {
		t.Errorf("lte = %+v, %v", lte, err)
	}
	worse, err := b.Parse("lte,loss=3%,rate=1mbit")
	if err != nil || worse.Down.Loss != 0.03 || worse.Down.Burst != 0 || worse.Up.Rate != 1_000_000 || worse.Down.Delay != lte.Down.Delay {
		t.Errorf("lte,loss=3%%,rate=1mbit = %+v, %v", worse, err)
	}
	for spec, want := range map[string]string{
		"lteé":                          `link:1:1: want KEY=VALUE or a profile, got "lteé"`,
		"loss=1%,lte":                   `link:1:9: want KEY=VALUE, got "lte"`,
		"lte,delay=1ms,burst=2,loss=0%": "link:1:21: burst: want a loss with it",
	} {
		if _, err := b.Parse(spec); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Parse(%q) = %v, want %q", spec, err, want)
		}
	}
}

func TestBookReadsMappings(t *testing.T) {
	b := book(t)
	text := "down: {profile: lte, loss: 2%}\nup: delay=40ms,rate=1mbit\nboth: {delay: 40ms, jitter: 8ms, loss: 0.5%, rate: 12mbit}\nbad: {delay: 40}\nworse: {delay: 1ms, speed: 3}\nnone: {profile: xte}\nspec: delay=1\n"
	f := place.NewFile("u.yaml", []byte(text))
	node, err := place.ParseYAML(f, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"down": "delay=35ms,jitter=3ms,distribution=paretonormal,loss=2%,rate=12mbit,queue=150ms",
		"up":   "delay=40ms,rate=1mbit", "both": "delay=40ms,jitter=8ms,loss=0.5%,rate=12mbit",
		"bad": `u.yaml:4:14: delay: want a duration such as "40ms", got "40"`, "worse": `u.yaml:5:21: unknown condition "speed"`,
		"none": `u.yaml:6:17: profile: want KEY=VALUE or a profile, got "xte"`, "spec": `u.yaml:7:7: delay: want a duration`,
	}
	for _, v := range node.(*ast.MappingNode).Values {
		l, err := b.Read(f, v.Value)
		got := l.Down.String()
		if err != nil {
			got = err.Error()
		}
		if w := want[v.Key.String()]; !strings.HasPrefix(got, w) || w == "" {
			t.Errorf("%s = %s, want %s", v.Key, got, w)
		}
	}
}

func TestBookOwnProfiles(t *testing.T) {
	b := book(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rtt.txt"), []byte("64 bytes from x: icmp_seq=1 ttl=64 time=10 ms\n64 bytes from x: icmp_seq=2 ttl=64 time=30 ms\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := b.Add(filepath.Join(dir, "own.yaml"), []byte("profiles:\n  shop:\n    about: ours\n    down: {distribution: 'file:rtt.txt', rate: 1mbit}\n  lte:\n    link: loss=9%\n"))
	if err != nil {
		t.Fatal(place.Detail(err))
	}
	shop, err := b.Parse("shop")
	if err != nil || shop.Down.Delay != 20*time.Millisecond || shop.Down.Jitter == 0 || !shop.Up.IsZero() {
		t.Errorf("shop = %+v, %v, want the mean of the file", shop, err)
	}
	if lte, err := b.Parse("lte"); err != nil || lte.Down.Loss != 0.09 {
		t.Errorf("lte = %+v, %v, want the own one", lte, err)
	}
	for text, want := range map[string]string{
		"profile: {}":                                          `x.yaml:1:1: unknown key "profile"`,
		"profiles:\n  A B:\n    link: lte":                     `x.yaml:2:3: want a name of`,
		"profiles:\n  a:\n    both: lte":                       `x.yaml:3:5: unknown key "both"`,
		"profiles:\n  a: lte":                                  "x.yaml:2:6: want keys and values",
		"profiles:\n  a:\n    up: {distribution: 'file:none'}": "x.yaml:3:24: distribution: open none",
	} {
		if err := b.Add("x.yaml", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Add(%q) = %v, want %q", text, err, want)
		}
	}
}

func TestResolve(t *testing.T) {
	for spec, want := range map[string]uint32{
		"rate=12mbit,delay=40ms":             40 + 100, // packets of 1,500 bytes: 1 each ms
		"rate=12mbit,delay=40ms,queue=1s":    40 + 1000,
		"rate=12mbit,delay=40ms,jitter=10ms": 50 + 100,
		"rate=80kbit":                        10, // never fewer than a first window
		"delay=50ms":                         41_667,
		"loss=1%":                            1_000,
		"delay=1h":                           200_000,
		"delay=50ms,limit=7":                 7,
	} {
		r, how := mustParse(t, spec).Resolve()
		if r.Limit != want || (how == "") != strings.Contains(spec, "limit") {
			t.Errorf("%s: limit %d because %q, want %d", spec, r.Limit, how, want)
		}
		if again, _ := r.Resolve(); again != r {
			t.Errorf("%s: resolved twice it is another: %+v, %+v", spec, r, again)
		}
	}
	r, _ := mustParse(t, "loss=2%,burst=5").Resolve()
	if g := r.GilbertElliott; math.Abs(g.Mean()-0.02) > 1e-9 || g.ToGood != 0.2 || r.Loss != 0 || r.Burst != 0 {
		t.Errorf("loss=2%%,burst=5 = %+v, mean %v", g, g.Mean())
	}
}

func TestLint(t *testing.T) {
	for spec, want := range map[string][]string{
		"delay=40ms":                            nil,
		"delay=40ms,jitter=8ms,rate=12mbit":     {"jitter note"},
		"delay=20ms,jitter=5ms":                 {"jitter warning"},
		"loss=5%,loss_correlation=25%":          {"loss_correlation warning"},
		"ecn=true":                              {"ecn warning"},
		"ecn=true,gemodel=1%":                   nil,
		"duplicate=1%":                          {"duplicate note"},
		"duplicate=1%,duplicate_correlation=3%": {"duplicate note", "duplicate_correlation warning"},
		"corrupt_correlation=3%":                {"corrupt_correlation warning"},
		"gap=5,delay=1ms":                       {"gap warning"},
		"delay_correlation=5%":                  {"delay_correlation warning"},
		"delay=50ms,limit=1000":                 {"limit warning"}, // 240 Mbit/s
		"rate=10mbit,limit=1000":                {"limit warning"}, // 1.2 s of queue
		"rate=100mbit,delay=100ms,limit=100":    {"limit warning"}, // fewer than on the way
		"rate=100mbit,delay=100ms,limit=1500":   nil,
		"rate=10mbit,delay=10ms,limit=50":       nil,
	} {
		c := mustParse(t, spec)
		var got []string
		for _, f := range Lint(Link{Down: c, Up: c}) {
			got = append(got, f.Name+" "+string(f.Level))
			if f.Level == Warning && f.Better == "" || f.Text == "" || !strings.Contains(f.String(), f.Text) {
				t.Errorf("%s: finding %+v: want what is better", spec, f)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("Lint(%s) = %q, want %q", spec, got, want)
		}
	}
	one := Link{Down: Conditions{Delay: 20 * time.Millisecond}, Up: Conditions{Loss: 0.1, ECN: true}}
	if f := LintOn(one, Place{Kind: "loopback"}); len(f) != 1 || !strings.Contains(f[0].Text, "round trip") {
		t.Errorf("on lo: %v, want its round trip", f)
	}
	if f := LintOn(one, Place{KeepGSO: true, Kind: "veth", Ingress: true, IngressDirection: Down}); len(f) != 2 {
		t.Errorf("with super-packets: %v, want two findings", f)
	}
}

// The advice itself must parse, and be without the warning.
func TestLintAdvice(t *testing.T) {
	c := mustParse(t, "loss=5%,loss_correlation=25%")
	f := Lint(Link{Down: c, Up: c})
	spec, _, _ := strings.Cut(f[0].Better, " ")
	better, err := ParseSpec(spec)
	if err != nil || better.Burst == 0 || len(Lint(Link{Down: better, Up: better})) != 0 {
		t.Errorf("advice %q = %+v, %v", f[0].Better, better, err)
	}
}
