// Package station models what stands behind an answer's latency: a place with a number
// of servers at which requests wait for each other. A recording is turned into what each
// request asked for by itself, its demand; a replay turns demands back into moments, also
// under loads that were never recorded.
//
// It is pure but for Live, which knows the moments that it is told: it waits for nothing,
// reads no clock and knows nothing of HTTP.
//
// Source of the idea: Sutton & Jordan, "Bayesian inference for queueing networks and
// modeling of internet services", Annals of Applied Statistics 2011.
package station
