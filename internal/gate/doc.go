// Package gate measures what a proxy adds to a request, and judges it against a
// budget: direct and proxied blocks alternate in pairs, so that what the machine
// does meanwhile falls on both. Where the noise does not let it tell, it says
// "inconclusive" and decides nothing.
//
// It starts no proxy by itself: a Scenario brings one. Load and upstream may run
// in processes of their own (CommandLoader, CommandUpstream), or in this one.
package gate
