// Package verify holds what a link did to probes against the conditions that it was
// asked to have: delay, loss and rate of one direction, each with an interval.
//
// It is pure: it sends nothing and knows no clock. Plan says what to send, and Judge
// what to think of what came.
package verify
