package rules

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/internal/watch"
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
	bodyFiles                   []watch.Named // that rules answer with: they are part of them
	digest                      uint64        // of all sources, to tell whether a reading is new
}

// Len is the number of rules, disabled ones included.
func (s *Set) Len() int { return len(s.rules) }

// Parse reads rules from files, in the order given. All that is wrong is
// reported at once: the error is a place.List, or a *place.Error.
func Parse(sources []Source, opts Options) (*Set, error) {
	s, err := parse(sources, opts)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// parse is Parse, and with an error gives a Set of the bodies' files alone.
func parse(sources []Source, opts Options) (*Set, error) {
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
		return s, err
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
	files, err := watch.Read(what, watched(places))
	if err != nil {
		return nil, err
	}
	return Parse(sourcesOf(files, places), opts)
}

// what is in the files, for errors.
const what = "rules"

func watched(places []Place) []watch.Place {
	out := make([]watch.Place, len(places))
	for i, p := range places {
		out[i] = watch.Place{Path: p.Path}
	}
	return out
}

func sourcesOf(files []watch.File, places []Place) []Source {
	out := make([]Source, len(files))
	for i, f := range files {
		out[i] = Source{f.Name, f.Data, places[f.Place].Shared}
	}
	return out
}

// reason is err without the path, which its place gives.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

func digestOf(sources []Source) uint64 {
	files := make([]watch.File, len(sources))
	for i, s := range sources {
		files[i] = watch.File{Name: s.Name, Data: s.Data}
	}
	return watch.Digest(files)
}
