package gateway

import "context"

// IfListening is what decides where Options.Admission is nil.
func IfListening(ctx context.Context, conn Connection) Admission { return onlyListening(ctx, conn) }
