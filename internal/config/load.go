package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// maxFile bounds a configuration file: what is larger was not written by hand.
const maxFile = 4 << 20

// Override sets a key from outside of the file. A list given twice in one call
// of Load has the values of both.
type Override struct {
	Key   string // a Key's name, or "listen.forward" and so on for the listeners' flags
	Value string // as in the environment: see docs/configuration.md
	From  string // names the place in messages: "--speed"; "" for "--set KEY"
}

// ParseSet reads the value of --set: KEY=VALUE. The key is checked by Load.
func ParseSet(s string) (Override, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return Override{}, fmt.Errorf("--set: want KEY=VALUE, got %q", s)
	}
	return Override{Key: name, Value: value}, nil
}

// Load reads the file ("" for none), lays the environment (as os.Environ gives
// it) and the overrides over it, and validates the whole. On findings the error
// is a place.List with all of them; the Config is nil then.
func Load(file string, env []string, overrides []Override) (*Config, error) {
	var data []byte
	if file != "" {
		var err error
		if data, err = readFile(file); err != nil {
			return nil, place.List{{File: file, Msg: err.Error()}}
		}
	}
	return Parse(file, data, env, overrides)
}

// Parse is Load with the file's content at hand. Name is used in messages and
// for the directory that relative paths begin from.
func Parse(name string, data []byte, env []string, overrides []Override) (*Config, error) {
	c := Default()
	c.File, c.env, c.overrides = name, env, overrides
	var errs place.List
	c.applyFile(name, data, &errs)
	c.applyEnv(env, &errs)
	c.applyOverrides(overrides, &errs)
	if len(errs) == 0 {
		// Cross-checks on values that are half there would only confuse.
		errs = c.validate()
	}
	for _, e := range errs {
		if flag, ok := strings.CutPrefix(e.File, "--"); ok { // names its key where both are called the same
			e.Msg = strings.TrimPrefix(e.Msg, strings.TrimPrefix(flag, "set ")+": ")
		}
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Again reads the file's new content data with the same environment and overrides over
// it. c stays as it is.
func (c *Config) Again(data []byte) (*Config, error) {
	return Parse(c.File, data, c.env, c.overrides)
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, errors.Unwrap(err) // the path is said by the place
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	return data, nil
}

func (c *Config) applyFile(name string, data []byte, errs *place.List) {
	file := place.NewFile(name, data)
	node, ok := parseYAML(file, data, errs)
	if !ok || node == nil {
		return
	}
	in := input{file: file, node: node, errs: errs}
	pairs, ok := in.pairs()
	if !ok {
		in.errorf("", "want a mapping of keys such as %s", strings.Join(children("")[:3], ", "))
		return
	}
	c.applyGroup("", pairs)
}

// applyGroup reads the pairs of one mapping, whose keys stand below group.
func (c *Config) applyGroup(group string, pairs []pair) {
	for _, p := range pairs {
		name := p.name
		if !slices.Contains(children(group), p.name) {
			unknownKey(p, group, children(group))
			continue
		}
		if group != "" {
			name = group + "." + p.name
		}
		if isNull(p.value.node) {
			continue
		}
		if isGroup(name) {
			if below, ok := p.value.pairs(); ok {
				c.applyGroup(name, below)
				continue
			}
			short, ok := shorthands[name]
			if !ok {
				p.value.key = name
				p.value.fail(&problem{want: "a mapping with " + oneOf(children(name))})
				continue
			}
			name = short
		}
		k, _ := findKey(name)
		c.apply(k, p.value, LayerFile)
	}
}

func (c *Config) apply(k Key, in input, layer Layer) {
	in.key, in.secret = k.Name, k.secret
	o := Origin{Layer: layer, Name: in.from, file: in.file, node: in.node}
	if in.file != nil {
		o.Name = atNode(in.file, in.node, "", "").Place()
	}
	c.origins[k.Name] = o
	k.set(c, in)
}

func unknownKey(p pair, group string, known []string) {
	hint := "known keys: " + strings.Join(known, ", ")
	if near := place.Nearest(p.name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	if group != "" {
		p.key.errorf(hint, "unknown key %s in %s", quoteShort(p.name), group)
		return
	}
	p.key.errorf(hint, "unknown key %s", quoteShort(p.name))
}

// envIgnored are names that others own: ours that are read elsewhere, and
// what Kubernetes sets for services that are called understudy.
var envIgnored = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^UNDERSTUDY_(CONFIG|INTERNAL_\w*|(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?))$`)
})

func (c *Config) applyEnv(env []string, errs *place.List) {
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "UNDERSTUDY_") || value == "" || envIgnored().MatchString(name) {
			continue
		}
		i := slices.IndexFunc(keys, func(k Key) bool { return k.Env == name })
		if i < 0 {
			known := make([]string, len(keys))
			for j, k := range keys {
				known[j] = strings.TrimPrefix(k.Env, "UNDERSTUDY_")
			}
			e := &place.Error{File: name, Msg: "unknown environment variable", Hint: "docs/configuration.md lists them"}
			if near := place.Nearest(strings.TrimPrefix(name, "UNDERSTUDY_"), known); near != "" {
				e.Hint = fmt.Sprintf("did you mean %q?", "UNDERSTUDY_"+near)
			}
			*errs = append(*errs, e)
			continue
		}
		c.apply(keys[i], input{text: value, from: name, errs: errs}, LayerEnv)
	}
}

func (c *Config) applyOverrides(overrides []Override, errs *place.List) {
	seen := map[string]bool{}
	for _, o := range overrides {
		in := input{text: o.Value, from: o.From, errs: errs}
		if in.from == "" {
			in.from = "--set " + o.Key
		}
		if kind, ok := strings.CutPrefix(o.Key, "listen."); ok {
			c.addListener(ListenKind(kind), in, seen["listen"])
			seen["listen"] = true
			continue
		}
		k, ok := findKey(o.Key)
		if !ok {
			if k, ok = findKey(shorthands[o.Key]); !ok {
				in.from = "--set"
				unknownOverride(o, in)
				continue
			}
		}
		in.more = seen[k.Name]
		seen[k.Name] = true
		c.apply(k, in, LayerFlag)
	}
}

func unknownOverride(o Override, in input) {
	known := make([]string, len(keys))
	for i, k := range keys {
		known[i] = k.Name
	}
	hint := "docs/configuration.md lists the keys"
	if near := place.Nearest(o.Key, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	in.errorf(hint, "unknown key %s", quoteShort(o.Key))
}

// addListener takes a listener from a flag. The first one replaces those of
// lower layers.
func (c *Config) addListener(kind ListenKind, in input, more bool) {
	in.key = "listen"
	if !more {
		c.Listen = nil
	}
	c.origins["listen"] = Origin{Layer: LayerFlag, Name: in.from}
	l, p := parseListen(kind, in.text)
	if p != nil {
		in.fail(p)
		return
	}
	c.Listen = append(c.Listen, l)
}

// resolve makes a path from the file relative to the file's directory.
func (c *Config) resolve(in input, p string) string {
	if p == "" || in.file == nil || in.file.Name != c.File || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(filepath.Dir(c.File), p)
}
