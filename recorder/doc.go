// Package recorder persists exchanges in arrival order, and keeps the ledger of
// what was seen. When its queue is full it drops and counts; it does not wait.
//
// It never slows the traffic: it copies bytes, and one goroutine of its own
// redacts, encodes and writes. A body that it knows from before it compares in
// place of copying, or of searching and encoding. It does not read cassettes, and it
// decides nothing about an exchange but whether there is room to keep it.
package recorder
