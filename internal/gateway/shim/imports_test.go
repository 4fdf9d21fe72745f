package shim

import (
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What this package imports is initialised before a shim takes over.
func TestImports(t *testing.T) {
	early := []string{"embed", "errors", "runtime", "strconv", "sync", "syscall", "time", "unsafe"}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range parsed.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); !slices.Contains(early, path) {
				t.Errorf("%s imports %s: a shim would wait for its initialisation, and for what comes before it", f.Name(), path)
			}
		}
	}
}
