package rules

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// Options is what Parse and Load need beside the text.
type Options struct {
	// Empirical returns the recorded latencies of a cassette's operation, such
	// as "POST /checkout". It is called at load. nil refuses empirical().
	Empirical func(cassette, operation string) (timing.Distribution, error)
}

// Source is the text of a rule file.
type Source struct {
	Name string // as errors name it; body_file counts from its folder
	Data []byte
	// Shared is set where the file may have other top-level keys beside rules,
	// which somebody else checks: understudy.yaml.
	Shared bool
}

// Set is the rules of some files, checked and compiled, in order. It is
// immutable. The zero value has no rules.
type Set struct {
	rules []*rule
	index *index
	// masks by position, for the engine's passes
	requests, responses, bodies members
	door, names                 []int
	bodyFiles                   []bodyFile
	digest                      uint64 // of all sources, to tell whether a reading is new
}

// bodyFile is a file that a rule answers with; it is part of the rules.
type bodyFile struct {
	path string
	sum  uint64 // of its content when it was read
}

// Len is the number of rules, disabled ones included.
func (s *Set) Len() int { return len(s.rules) }

// Parse reads rules from files, in the order given. All that is wrong is
// reported at once: the error is a place.List, or a *place.Error.
func Parse(sources []Source, opts Options) (*Set, error) {
	var all []*rule
	var errs place.List
	s := &Set{digest: digestOf(sources)}
	taken := map[string]string{}
	for _, src := range sources {
		f := place.NewFile(src.Name, src.Data)
		r := &reader{file: f, dir: filepath.Dir(src.Name), opts: &opts, anchors: map[string]ast.Node{}}
		r.document(src, func(n ast.Node) {
			u := r.rule(n)
			if u == nil {
				return
			}
			if first, again := taken[u.name]; again {
				r.fail(n, "names tell rules apart in the log and the ledger", "rule %q is at %s already", u.name, first)
				return
			}
			taken[u.name] = u.place
			all = append(all, u)
		})
		errs = append(errs, r.errs...)
		s.bodyFiles = append(s.bodyFiles, r.bodyFiles...)
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	s.build(all)
	return s, nil
}

// document hands each item under rules to each.
func (r *reader) document(src Source, each func(ast.Node)) {
	root, err := place.ParseYAML(r.file, src.Data)
	if err != nil {
		var e *place.Error
		if !errors.As(err, &e) {
			e = r.file.At(0, 0, "", "%s", err)
		}
		r.errs = append(r.errs, e)
		return
	}
	if root == nil {
		return
	}
	ast.Walk(anchorVisitor{r.anchors}, root)
	entries, ok := r.mapping("file", root, root)
	if !ok {
		return
	}
	for _, e := range entries {
		switch {
		case e.key == "rules" && r.plain(e.value) == nil: // an empty list
		case e.key == "rules":
			items, ok := r.plain(e.value).(*ast.SequenceNode)
			if !ok {
				r.fail(e.keyNode, "each rule begins with a dash", "rules: want a list, got %s", r.describe(e.value))
				continue
			}
			for _, n := range items.Values {
				each(n)
			}
		case !src.Shared:
			r.unknown(e, "", "rules")
		}
	}
}

// build settles what the engine walks.
func (s *Set) build(all []*rule) {
	s.rules, s.index = all, newIndex(all)
	s.requests, s.responses, s.bodies = newMembers(len(all)), newMembers(len(all)), newMembers(len(all))
	for i, u := range all {
		u.alone = []string{u.name}
		switch u.phase {
		case atRequest:
			s.requests.set(i)
		case atResponse:
			s.responses.set(i)
		case atDoor:
			s.door = append(s.door, i)
		case atName:
			s.names = append(s.names, i)
		}
		if u.uses&usesBody != 0 {
			s.bodies.set(i)
		}
	}
}

// Place names rule files. A folder in it stands for the *.yaml and *.yml in it,
// sorted by name, hidden ones left out.
type Place struct {
	Path   string
	Shared bool // see Source.Shared
}

// Load is Parse of the files and folders at places. A file that cannot be read is a
// *place.Error.
func Load(places []Place, opts Options) (*Set, error) {
	sources, err := read(places)
	if err != nil {
		return nil, err
	}
	return Parse(sources, opts)
}

// read reads the files at places.
func read(places []Place) ([]Source, error) {
	var sources []Source
	for _, p := range places {
		paths := []string{p.Path}
		switch info, err := os.Stat(p.Path); {
		case err != nil: // told below
		case info.IsDir():
			if paths, err = ruleFiles(p.Path); err != nil {
				return nil, err
			}
		case info.Mode()&fs.ModeNamedPipe != 0:
			return nil, &place.Error{
				File: p.Path, Msg: "read rules: want a file or a folder, got a pipe",
				Hint: "rules are read again when they change, and a pipe can be read once: save them in a file",
			}
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, &place.Error{File: path, Msg: "read rules: " + reason(err)}
			}
			sources = append(sources, Source{path, data, p.Shared})
		}
	}
	return sources, nil
}

// reason is err without the path, which its place gives.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// ruleFiles lists a folder's rule files.
func ruleFiles(dir string) ([]string, error) {
	items, err := os.ReadDir(dir)
	if err != nil {
		return nil, &place.Error{File: dir, Msg: "read rules: " + reason(err)}
	}
	var paths []string
	for _, item := range items { // sorted by name
		if !isRuleFile(item.Name()) {
			continue
		}
		path := filepath.Join(dir, item.Name())
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			continue
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func isRuleFile(name string) bool {
	return !strings.HasPrefix(name, ".") && slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(name))
}

func digestOf(sources []Source) uint64 {
	h := fnv.New64a()
	for _, s := range sources {
		fmt.Fprintf(h, "%q %d ", s.Name, len(s.Data))
		h.Write(s.Data)
	}
	return h.Sum64()
}
