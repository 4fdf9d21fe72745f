package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/rules"
	"github.com/understudy-proxy/understudy/shaping"
)

// Checked is what `understudy check` found out about one path.
type Checked struct {
	Path string
	Kind string // "configuration", "rules", "stubs", "cassette"; "" where that is unclear
	Note string // "12 rules"
	// Errors are what is wrong, each with its place as far as one is known.
	Errors []error
	// Warnings are what a replay would put up with, or what will not do what it seems to say.
	Warnings []error
	// Notes are what is worth knowing.
	Notes []error
}

// Check validates files and cassettes without listening on anything: what a run
// would refuse, and what verification of a cassette finds beyond that.
func Check(paths []string) []Checked {
	var all []Checked
	seen := map[string]bool{}
	for len(paths) > 0 {
		path := paths[0]
		paths = paths[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		c, more := checkOne(path)
		all = append(all, c)
		paths = append(paths, more...)
	}
	return all
}

// checkOne checks one path and returns those that it names.
func checkOne(path string) (c Checked, more []string) {
	c.Path = path
	info, err := os.Stat(path)
	switch {
	case err != nil:
		c.fail(&place.Error{File: path, Msg: reason(err)})
	case info.IsDir() && holdsRules(path):
		c.rules(path)
	case info.IsDir():
		c.cassette(path)
	case isYAML(path):
		return checkYAML(path)
	default:
		c.cassette(path)
	}
	return c, nil
}

func checkYAML(path string) (c Checked, more []string) {
	c.Path = path
	data, err := os.ReadFile(path)
	if err != nil {
		c.fail(&place.Error{File: path, Msg: reason(err)})
		return c, nil
	}
	file := place.NewFile(path, data)
	node, err := place.ParseYAML(file, data)
	if err != nil {
		c.fail(err)
		return c, nil
	}
	switch n := node.(type) {
	case *ast.SequenceNode:
		c.stubs(path)
	case *ast.MappingNode:
		switch keys := keysOf(n); {
		case filepath.Base(path) == cassette.ManifestFile:
			c.Kind = "cassette"
			if _, err := cassette.ParseManifest(path, data); err != nil {
				c.fail(err)
			}
		case len(keys) == 1 && keys[0] == "rules":
			c.rules(path)
		default:
			return c.configuration(path)
		}
	case nil:
		c.fail(&place.Error{File: path, Msg: "empty", Hint: "want a configuration, rules: or a list of stubs"})
	default:
		c.fail(file.AtNode(node, "want a configuration, rules: or a list of stubs", "neither a mapping nor a list"))
	}
	return c, nil
}

func (c *Checked) fail(err error) { c.Errors = append(c.Errors, err) }

func (c *Checked) rules(path string) {
	c.Kind = "rules"
	set, err := rules.Load([]rules.Place{{Path: path}}, rules.Options{Empirical: empirical})
	if err != nil {
		c.fail(err)
		return
	}
	c.Note = plural(set.Len(), "rule")
}

func (c *Checked) stubs(path string) {
	c.Kind = "stubs"
	stubs, err := readStubs(path)
	if err != nil {
		c.fail(err)
		return
	}
	c.Note = plural(len(stubs), "stub")
}

// configuration checks a configuration file, the rules in it, and then what it names.
func (c *Checked) configuration(path string) (Checked, []string) {
	c.Kind = "configuration"
	conf, err := config.Load(path, nil, nil)
	if err != nil {
		c.fail(err)
		return *c, nil
	}
	if !conf.Rules.IsZero() {
		set, err := rules.Load([]rules.Place{{Path: path, Shared: true}}, rules.Options{Empirical: empirical})
		if err != nil {
			c.fail(err)
		} else {
			c.Note = plural(set.Len(), "rule")
		}
	}
	c.link(conf)
	c.classes(conf)
	return *c, append(append([]string{}, conf.RuleFiles...), conf.Cassettes...)
}

// link checks the link's conditions and its timeline, and explains what will surprise.
func (c *Checked) link(conf *config.Config) {
	plan, err := timelineOf(conf, conf.Seed)
	if err != nil {
		c.fail(err)
		return
	}
	if plan == nil {
		return
	}
	lint := shaping.Lint
	if conf.Link.Engine == config.EngineTUN || beyondNetem(plan) {
		lint = shaping.LintPlain // netem's traps are not this engine's
	}
	for _, f := range lint(plan.Base()) {
		at := conf.Link.Both
		switch {
		case f.Direction != shaping.Up && !conf.Link.Down.IsZero():
			at = conf.Link.Down
		case f.Direction != shaping.Down && !conf.Link.Up.IsZero():
			at = conf.Link.Up
		}
		c.explain(f, func(better, text string) error { return at.File.AtNode(at.Node, better, "link: %s", text) })
	}
	for _, f := range plan.Lint(lint) {
		c.explain(f.Finding, func(better, text string) error {
			if f.Class != "" {
				text = fmt.Sprintf("class %q: %s", f.Class, text)
			}
			if f.Step == nil {
				all := plan.Classes()
				return all[slices.IndexFunc(all, func(c shaping.LinkClass) bool { return c.Name == f.Class })].Error(better, "link: %s", text)
			}
			return f.Step.Error(better, "link: step %q: %s", f.Step.Name, text)
		})
	}
}

// classes checks that the link has those that rules put connections into, also in files
// of their own: what else is wrong with those their own check tells. It warns of classes
// that nothing belongs to.
func (c *Checked) classes(conf *config.Config) {
	plan, err := timelineOf(conf, conf.Seed)
	if err != nil {
		return // it was told
	}
	places := []rules.Place{{Path: conf.File, Shared: true}}
	for _, path := range conf.RuleFiles {
		places = append(places, rules.Place{Path: path})
	}
	used, all := map[string]bool{}, true
	for _, one := range places {
		set, err := rules.Load([]rules.Place{one}, rules.Options{Empirical: empirical})
		if err != nil {
			all = false
			continue
		}
		if err := knownClasses(set, plan); err != nil {
			c.fail(err)
		}
		for _, use := range set.ClassUses() {
			used[use.Class] = true
		}
	}
	if plan == nil || !all {
		return
	}
	for _, class := range plan.Classes() {
		if len(class.To) == 0 && !used[class.Name] {
			c.Warnings = append(c.Warnings, class.Error("to: says where it leads, a rule's link: puts connections into it",
				"link: class %q: nothing belongs to it", class.Name))
		}
	}
}

// explain adds a finding at its place, which tell gives it.
func (c *Checked) explain(f shaping.Finding, tell func(better, text string) error) {
	better := f.Better
	if better != "" {
		better = "better: " + better
	}
	f.Better = ""
	if told := tell(better, f.String()); f.Level == shaping.Warning {
		c.Warnings = append(c.Warnings, told)
	} else {
		c.Notes = append(c.Notes, told)
	}
}

func (c *Checked) cassette(path string) {
	c.Kind = "cassette"
	opened, err := cassette.Open(path)
	if err != nil {
		c.fail(err)
		return
	}
	for _, w := range opened.Warnings {
		c.Warnings = append(c.Warnings, w)
	}
	ix, err := index(opened, cassette.Match{}, &localPorts{}, new(limits).of)
	if err != nil {
		c.fail(err)
		return
	}
	stubs, err := readStubs(opened.Stubs...)
	if err != nil {
		c.fail(err)
		return
	}
	c.Note = plural(ix.Len(), "exchange") + ", " + plural(len(stubs), "stub")
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return
	}
	found, err := cassette.Verify(path)
	if err != nil {
		c.fail(err)
	}
	c.Warnings = nil // verification tells those of Open again
	for _, f := range found {
		if f.Severity == cassette.Damage {
			c.fail(f.Error)
		} else {
			c.Warnings = append(c.Warnings, f.Error)
		}
	}
}

// holdsRules reports whether a directory is one of rule files: YAML, and
// nothing that makes a cassette.
func holdsRules(dir string) bool {
	for _, name := range []string{cassette.ManifestFile, "exchanges.ndjson", "stubs"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return false
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if isYAML(e.Name()) {
			return true
		}
	}
	return false
}

func isYAML(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".yaml" || ext == ".yml"
}

func keysOf(m *ast.MappingNode) []string {
	var keys []string
	for _, v := range m.Values {
		keys = append(keys, v.Key.String())
	}
	return keys
}

// reason is an error without the path, which the place has said.
func reason(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if strings.HasSuffix(what, "s") {
		what += "e"
	}
	return fmt.Sprintf("%d %ss", n, what)
}
