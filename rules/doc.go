// Package rules turns an expression and a request into a fixtures.Plan. Same
// seed, same plan.
//
// It carries nothing out: it holds no request back, breaks no answer, opens no
// connection. It reads rule files, has them watched, and decides.
//
// Parse makes an immutable Set of rule files; an Engine holds the current Set
// with each rule's counters and switch; a Watcher swaps the Set when a file
// changes. What a rule may say is in docs/rules.md.
package rules
