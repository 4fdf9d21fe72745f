//go:build !linux

package redirect

import (
	"context"
	"io"
)

// Trial is what Probe found.
type Trial struct {
	OK             bool
	Detail, Remedy string
}

// Probe says what this system lacks.
func Probe(context.Context, ...string) Trial { return Trial{Detail: missing.Error()} }

// ProbeMain fails on this system.
func ProbeMain(io.Writer) error { return missing }
