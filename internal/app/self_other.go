//go:build !linux

package app

import "os/exec"

// dieWithParent does nothing: only Linux ties a child's life to ours.
func dieWithParent(*exec.Cmd) {}
