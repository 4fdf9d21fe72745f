package gateway

import "context"

func probe(ctx context.Context) []Finding { return nil }
