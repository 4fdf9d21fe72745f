// Package ratelimit models how many requests a server accepts before it refuses them, as
// with 429: it tells a limit from a recording, and keeps one as a server does.
//
// A Limit is a token bucket, which gives Rate tokens a second and holds Burst of them, or a
// fixed window, which accepts Requests in each Window. A recording gives the moments at which
// requests came, and whether each was refused. Fit finds a bucket from what stands between
// refusals: there the bucket was never full, so that what was accepted is what came in (rate
// = accepted / time); and the burst is the most that was accepted in any window beyond
// rate × window. What is so found is simulated on the recorded arrivals and corrected to
// where it puts the fewest accepted requests into the wrong slice of time. A fixed window is
// tried where the answers' headers tell of one; they tell its size and its length.
//
// Two things can look like a limit and are not: a server that refuses some part of what
// comes, whatever the load, and one that refuses now and then. So a limit is kept only if it
// tells the recording twice as well as a constant share of refusals does, and if what was
// fitted to the recording's first half tells its second one. Else Fit says what to record.
//
// A replay has a Live for each limit: one atomic word or a short lock for a request, no
// goroutine. The package waits for nothing, reads no clock and knows nothing of HTTP. It has
// one limit for all clients: one that each client has for itself is not told from it.
package ratelimit
