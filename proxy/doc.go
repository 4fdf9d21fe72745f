// Package proxy carries connections and reports exchanges. It decides nothing:
// plans come from a Planner, answers in place of an upstream from a Responder,
// and what becomes of the record is an Observer's and a Recorder's affair.
//
// Doors accept connections (forward, reverse), engines below proxy/ speak the
// protocols, and behind all doors stands one Pipeline.
package proxy
