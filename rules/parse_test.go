package rules

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/timing"
)

var update = flag.Bool("update", false, "write the goldens")

// testOptions knows one operation of one cassette.
var testOptions = Options{Empirical: func(cassette, operation string) (timing.Distribution, error) {
	if operation != "POST /checkout" {
		return nil, errors.New("empirical: " + cassette + " holds no " + operation)
	}
	return timing.Empirical([]time.Duration{10e6, 20e6, 30e6})
}}

func TestBadRules(t *testing.T) {
	const path = "testdata/bad.txt"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, cases := sections(string(data))
	wants := map[string]string{}
	for _, c := range cases {
		wants[c.name] = c.text
	}
	fresh := head
	for _, c := range cases {
		name, isRules := strings.CutSuffix(c.name, ".yaml")
		if !isRules {
			continue
		}
		_, err := Parse([]Source{{Name: c.name, Data: []byte(c.text)}}, testOptions)
		if err == nil {
			t.Errorf("%s is accepted", c.name)
			continue
		}
		got := place.Detail(err) + "\n"
		if want := wants[name+".err"]; got != want && !*update {
			t.Errorf("%s is refused with\n%swant\n%s", c.name, got, want)
		}
		fresh += fmt.Sprintf("-- %s --\n%s-- %s.err --\n%s", c.name, c.text, name, got)
	}
	if *update {
		if err := os.WriteFile(path, []byte(fresh), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type section struct{ name, text string }

// sections cuts a text at its "-- name --" lines.
func sections(text string) (head string, all []section) {
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "-- "); ok {
			all = append(all, section{name: strings.TrimSuffix(name, " --\n")})
		} else if len(all) == 0 {
			head += line
		} else {
			all[len(all)-1].text += line
		}
	}
	return head, all
}

// mustParse is for rules that are meant to be right.
func mustParse(t testing.TB, text string) *Set {
	t.Helper()
	s, err := Parse([]Source{{Name: filepath.Join(t.TempDir(), "rules.yaml"), Data: []byte(text)}}, testOptions)
	if err != nil {
		t.Fatalf("%s\n%s", place.Detail(err), text)
	}
	return s
}
