// Package app wires the parts into a run and owns it: what `understudy record`,
// `replay` and `proxy` have in common, from the configuration to the exit code.
//
// It decides nothing about traffic; the parts do. Nothing imports it but cmd.
package app
