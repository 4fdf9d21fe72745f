package umltest

import (
	"regexp"
	"strings"
	"testing"
)

// result is what one test said.
type result struct {
	name, verdict string // PASS, FAIL or SKIP; "" where it did not end
	log           []string
}

var (
	verdictLine = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+) \(`)
	turnLine    = regexp.MustCompile(`^=== (RUN|NAME|CONT|PAUSE) +(\S+)$`)
)

// parse reads the output of go test -v.
func parse(out string) []*result {
	var all []*result
	byName := map[string]*result{}
	get := func(name string) *result {
		r := byName[name]
		if r == nil {
			r = &result{name: name}
			byName[name] = r
			all = append(all, r)
		}
		return r
	}
	var current *result
	for line := range strings.SplitSeq(out, "\n") {
		if m := turnLine.FindStringSubmatch(line); m != nil {
			current = get(m[2])
			continue
		}
		if m := verdictLine.FindStringSubmatch(line); m != nil {
			current = get(m[2])
			current.verdict = m[1]
			continue
		}
		if current != nil && strings.TrimSpace(line) != "" && line != "PASS" && line != "FAIL" {
			current.log = append(current.log, line)
		}
	}
	return all
}

// report makes a subtest of each test of the guest.
func report(t *testing.T, out string) {
	all := parse(out)
	if len(all) == 0 {
		t.Errorf("no test ran\n%s", tail(out))
	}
	for _, r := range all {
		t.Run(r.name, func(t *testing.T) {
			log := strings.Join(r.log, "\n")
			switch r.verdict {
			case "PASS":
				if log != "" {
					t.Log(log)
				}
			case "SKIP":
				t.Skip(log)
			case "FAIL":
				t.Error(log)
			default:
				t.Errorf("did not end\n%s", tail(log))
			}
		})
	}
}
