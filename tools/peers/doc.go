// Command peers measures understudy beside other proxies and stubs, in one
// run on one machine: it starts each of them on loopback, loads them in turn
// with wrk, and prints what each cost. It judges nothing that it did not
// measure itself in that run, and it leaves nothing behind.
//
// A round visits every subject of a group once for each number of
// connections, in an order that turns from round to round, so that a machine
// that speeds up or slows down touches all alike. Ratios are taken within a
// round; what is told is the median over the rounds, with the least and the
// greatest.
//
// Where a delay is asked, a client of its own asks after wrk did, and has the
// kernel stamp the answers' coming: see client.
package main
