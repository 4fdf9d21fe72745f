package timeline

import (
	"os"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/shaping"
)

// Every timeline in the documentation is one, and so are classes.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/links.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for i, block := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		body, isLink := strings.CutPrefix(block, "link:\n")
		if !isLink || !strings.Contains(body, "steps:") && !strings.Contains(body, "classes:") {
			continue
		}
		found++
		l, err := read(body, 1)
		if err != nil {
			t.Errorf("example %d: %s", i+1, place.Detail(err))
			continue
		}
		for _, s := range l.Lint(shaping.Lint) {
			t.Logf("example %d: %s%s", i+1, s.Class, s.Finding)
		}
	}
	if found < 8 {
		t.Errorf("docs/links.md has %d timelines, want an example of each kind", found)
	}
}
