// Package admin serves the HTTP API over a run: its health, metrics, status,
// ledger, latest exchanges and misses, and the switches of its rules. It is
// described by openapi.yaml.
//
// It answers only who is on this machine and holds the token, unless told
// otherwise in so many words, and it knows nothing of the run but what the
// functions in Options tell it.
package admin
