// Package telemetry talks about a run: the log on standard error for people and
// machines, and the metrics that Prometheus scrapes.
//
// It never writes to standard output, never labels by a raw path, and never
// keeps more label sets than it was allowed.
package telemetry
