// Package timing holds distributions, statistics and the clock: how long a
// delay is, what a set of delays looks like, and waiting until a moment.
//
// It knows nothing of HTTP, rules or recordings, and draws no randomness of its
// own but the root seed: callers bring their seeds.
package timing
