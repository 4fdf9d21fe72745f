package rules

import (
	"os"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures"
)

// Whatever the text, Parse gives a set or an error, and a set plans. Planning
// twice with one seed gives one plan.
func FuzzParse(f *testing.F) {
	data, err := os.ReadFile("testdata/bad.txt")
	if err != nil {
		f.Fatal(err)
	}
	_, cases := sections(string(data))
	for _, c := range cases {
		f.Add([]byte(c.text))
	}
	f.Add([]byte(mixed))
	f.Add([]byte("a: &x {name: q}\nrules: [*x]\n"))
	f.Add([]byte("rules: &x [*x]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse([]Source{{Name: "f.yaml", Data: data, Shared: true}}, testOptions)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a word")
			}
			return
		}
		in := get("/pay?x=1")
		in.Body = []byte(`{"a":[1,"x",{"b":null}]}`)
		var first fixtures.Plan
		for i := range 2 {
			e := NewEngine(7, nil)
			e.Swap(s)
			e.NeedsBody(in.Request)
			in.Response = &fixtures.Response{Status: 500}
			p := e.PlanResponse(in, e.Plan(in))
			e.Door(&Arrival{Conn: 1, Host: "a.test:443"})
			if p.HoldRequest < 0 || p.HoldFirstByte < 0 {
				t.Errorf("Hold = %s, %s, want 0 or more", p.HoldRequest, p.HoldFirstByte)
			}
			if i == 0 {
				first = p
			} else if p.HoldRequest != first.HoldRequest || len(p.Fired) != len(first.Fired) {
				t.Errorf("a second Plan(seed=7) = %+v, want %+v", p, first)
			}
		}
	})
}
