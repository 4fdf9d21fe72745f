package rules

import (
	"reflect"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures"
)

// Of several rules the last says where a connection goes, also where it is decided by the
// response, and a rule whose only effect that is counts as one that did something.
func TestLinkOfAPlan(t *testing.T) {
	e := engineWith(t, 1, `
rules:
  - {name: a, when: request.path startsWith "/a", link: slow}
  - {name: b, when: request.path == "/ab", link: slower}
  - {name: once, when: request.path == "/once", count: 1, link: slow}
  - {name: failed, when: response.status >= 500, link: brownout}
  - {name: exempt, when: request.path == "/exempt", stop: true}
  - {name: last, when: 'request.path in ["/exempt", "/late"]', link: slow, delay: 1ms}
`)
	for _, tt := range []struct {
		path, want string
		fired      []string
	}{
		{"/", "", nil}, {"/a", "slow", []string{"a"}}, {"/ab", "slower", []string{"a", "b"}},
		{"/once", "slow", []string{"once"}}, {"/once", "", nil}, {"/exempt", "", []string{"exempt"}}, {"/late", "slow", []string{"last"}},
	} {
		if p := e.Plan(get(tt.path)); p.Link != tt.want || !reflect.DeepEqual(p.Fired, tt.fired) {
			t.Errorf("Plan(%s) has link %q by %q, want %q by %q", tt.path, p.Link, p.Fired, tt.want, tt.fired)
		}
	}
	in := get("/a")
	p := e.Plan(in)
	for status, want := range map[int]string{200: "slow", 503: "brownout"} {
		in.Response = &fixtures.Response{Status: status}
		if got := e.PlanResponse(in, p); !p.NeedsResponse || got.Link != want {
			t.Errorf("PlanResponse(%d) has link %q, want %q", status, got.Link, want)
		}
	}
}

func TestClassUses(t *testing.T) {
	s := mustParse(t, "rules:\n  - {name: a, link: slow}\n  - {name: b, delay: 1ms}\n  - {name: c, enabled: false, link: \"slower\"}\n")
	var got []string
	for _, use := range s.ClassUses() {
		got = append(got, use.Class+" "+use.Error("", "no").Place())
	}
	if len(got) != 2 || !strings.HasPrefix(got[0], "slow ") || !strings.HasSuffix(got[0], ":2:21") || !strings.HasSuffix(got[1], ":4:37") {
		t.Errorf("ClassUses = %q", got)
	}
}
