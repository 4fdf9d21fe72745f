// Package probes sends packets from either end of a link to the other and writes down
// what came of them. What to send is a verify.Plan, and what to think of it that
// package's affair.
package probes
