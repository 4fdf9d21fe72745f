//go:build !linux

package gateway

import "context"

// IfListening is what decides where Options.Admission is nil.
func IfListening(context.Context, Connection) Admission { return Admit }
