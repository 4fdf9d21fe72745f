package rules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// The examples of docs/rules.md are rules, and it names all there is.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "busy.json"), `{"error":"busy"}`)
	examples := 0
	for block := range strings.SplitSeq(text, "```yaml\n") {
		example, _, closed := strings.Cut(block, "```")
		if !closed || !strings.HasPrefix(example, "rules:") {
			continue
		}
		examples++
		if _, err := Parse([]Source{{Name: filepath.Join(dir, "rules.md"), Data: []byte(example)}}, testOptions); err != nil {
			t.Errorf("an example is refused: %s\n%s", place.Detail(err), example)
		}
	}
	if examples < 6 {
		t.Errorf("found %d examples, want at least 6", examples)
	}
	var wants []string
	for n, def := range names {
		switch {
		case n == "rand":
			n = "`rand()`"
		case def.call:
			n = "`" + n + "("
		default:
			n = "`" + n + "`"
		}
		wants = append(wants, n)
	}
	for n := range constructors {
		wants = append(wants, "`"+n+"(")
	}
	for kind := range faultKinds {
		wants = append(wants, "`"+kind+": ")
	}
	for _, key := range append(ruleKeys, errorCodes...) {
		wants = append(wants, "`"+key+"`")
	}
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("docs/rules.md does not mention %s", want)
		}
	}
}
