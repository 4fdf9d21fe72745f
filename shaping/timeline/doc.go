// Package timeline says what a link's conditions are at a moment of the run.
//
// A Timeline is conditions, and steps that are laid over them while they last. It is
// pure: At gives the conditions at an instant, Next the instant at which they change.
// The same steps and the same seed give the same conditions at the same instants.
//
// It holds no link to anything: who asks, applies.
package timeline
