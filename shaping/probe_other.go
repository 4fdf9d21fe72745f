//go:build !linux

package shaping

import (
	"context"
	"io"
	"runtime"
)

// Probe says what this kernel can do. Here that is nothing: all of it is Linux's.
func Probe(_ context.Context, _ ...string) []Capability {
	return allMissing("Linux only, this is "+runtime.GOOS, "run understudy in a Linux VM or container")
}

// ProbeMain is the body of Probe's hidden subcommand; here it is errors.ErrUnsupported.
func ProbeMain(io.Writer) error { return unsupported("probe") }
