package timing

import (
	"math"
	"math/bits"
	"time"
)

// Bins counts durations so that their quantiles can be told: in steps of 64 ns up to
// 4 µs, beyond them in 32 steps for each doubling, up to 73 minutes. Adding costs a
// few ns and no memory. The zero value is empty. It is not safe for concurrent use.
type Bins struct {
	count  uint64 // first: with empty bins it is all that is read
	most   time.Duration
	counts [32*(binDoublings+1) + 32]uint64
}

const (
	binUnit      = 6 // 64 ns, as a power of two
	binDoublings = 30
)

// Add counts d; a negative one as 0.
func (b *Bins) Add(d time.Duration) {
	b.counts[binOf(d)]++
	b.count++
	b.most = max(b.most, d)
}

func binOf(d time.Duration) int {
	v := uint64(max(d, 0)) >> binUnit
	doublings := max(bits.Len64(v)-6, 0)
	if doublings > binDoublings {
		return len(Bins{}.counts) - 1
	}
	return 32*doublings + int(v>>doublings)
}

// middleOf is the middle of a bin.
func middleOf(i int) time.Duration {
	doublings := max(i/32-1, 0)
	low, width := uint64(i-32*doublings)<<doublings, uint64(1)<<doublings
	return time.Duration(low<<binUnit + width<<binUnit/2)
}

// Join adds what o has counted. Empty bins are not looked at: nothing has touched their
// memory, 8 KiB each, and doing so would be what they cost.
func (b *Bins) Join(o *Bins) {
	if o.count == 0 {
		return
	}
	for i, n := range o.counts {
		b.counts[i] += n
	}
	b.count += o.count
	b.most = max(b.most, o.most)
}

// Count is how many were added.
func (b *Bins) Count() uint64 { return b.count }

// Max is the greatest that was added, exactly; 0 where there is none.
func (b *Bins) Max() time.Duration { return b.most }

// Quantile returns the p-quantile, for p in [0, 1], to within 32 ns or 1/64 of it, and never
// more than Max; 0 where none were added.
func (b *Bins) Quantile(p float64) time.Duration {
	if b.count == 0 {
		return 0
	}
	rank := max(1, uint64(math.Ceil(p*float64(b.count))))
	var seen uint64
	for i, c := range b.counts {
		if seen += c; c > 0 && seen >= rank {
			return min(middleOf(i), b.most)
		}
	}
	return 0
}
