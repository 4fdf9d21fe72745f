// Package demo is the tour: a sample shop, the payment service that it depends
// on, customers who use it, and the story of how understudy learns that service,
// stands in for it, and bends it. Every figure it prints was measured in the run.
//
// It knows understudy from outside alone: commands, their events and exit codes.
package demo
