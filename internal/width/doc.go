// Package width keeps the width of Go's scheduler, GOMAXPROCS, to what the
// machine can spare: all that the runtime would take, unless hardly a processor
// is idle and fewer do the work. It tries no width out, and leaves the width
// alone where the environment sets it or where it cannot see the machine. At rest
// it hardly looks: who begins work wakes it.
//
// On a machine that is full a second processor makes understudy dearer and not
// faster: goroutines that it takes over run with cold caches, while the clients
// and upstreams lack it. Source: docs/experiments.md, "Fewer processors".
//
// While there is one, it says when those who do the work are to write in batches: see
// Work.
package width
