package config

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// Layer is one of the four places a value can come from; a later one wins.
type Layer uint8

const (
	LayerDefault Layer = iota
	LayerFile
	LayerEnv
	LayerFlag
)

// Origin says where a key's value came from.
type Origin struct {
	Layer Layer
	Name  string // "understudy.yaml:3:8", "UNDERSTUDY_SPEED" or "--speed"; "" for a default

	file *place.File
	node ast.Node
}

// String is "default" or, for instance, "from UNDERSTUDY_SPEED".
func (o Origin) String() string {
	if o.Layer == LayerDefault {
		return "default"
	}
	return "from " + o.Name
}

// Origin returns where the value of a key, such as "admin.addr", came from. An
// unknown key has the zero Origin, which is a default's.
func (c *Config) Origin(key string) Origin { return c.origins[key] }

// IsSet reports whether a key was given anywhere.
func (c *Config) IsSet(key string) bool { return c.origins[key].Layer != LayerDefault }

// errorAt is a finding about a key's value, placed where that value was written.
func (c *Config) errorAt(key, hint, format string, args ...any) *place.Error {
	o := c.origins[key]
	if o.file != nil {
		return atNode(o.file, o.node, hint, format, args...)
	}
	name := o.Name
	if name == "" {
		name = "configuration"
	}
	return &place.Error{File: name, Hint: hint, Msg: fmt.Sprintf(format, args...)}
}

// atNode is File.AtNode with mappings and sequences placed at their first
// character: the library places a block mapping at its first colon.
func atNode(f *place.File, n ast.Node, hint, format string, args ...any) *place.Error {
	for {
		switch m := n.(type) {
		case *ast.MappingNode:
			if m.IsFlowStyle || len(m.Values) == 0 {
				return f.AtNode(n, hint, format, args...)
			}
			n = m.Values[0]
		case *ast.MappingValueNode:
			n = m.Key
		default:
			return f.AtNode(n, hint, format, args...)
		}
	}
}
