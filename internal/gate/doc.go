// Package gate measures what a proxy adds to a request, and judges it against a
// budget: two ways to the same answer take turns in pairs of blocks, so that what
// the machine does meanwhile falls on both; or both run at once (Options.Together). One way is direct, or an earlier build
// of the same proxy. Where the noise does not let it tell, it says "inconclusive"
// and decides nothing; without a limit it says that nothing was judged.
//
// It starts no proxy by itself: a Scenario brings one. Load and upstream may run
// in processes of their own (CommandLoader, CommandUpstream), or in this one.
package gate
