package timing

import "time"

// origin is what Instant counts from.
var origin = time.Now()

// Instant returns the time now, to be compared with other times and not to be shown: its
// date is that of a clock which nobody has set since the program began. It asks the
// monotonic clock alone, where time.Now asks the wall clock, too.
func Instant() time.Time { return origin.Add(time.Since(origin)) }
