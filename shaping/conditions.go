package shaping

import (
	"errors"
	"strings"
	"time"
)

// ErrNoNetem says that the kernel has no netem.
var ErrNoNetem = errors.New("this kernel has no netem")

// Conditions are what a link does to packets in one direction: netem's whole
// vocabulary. The zero value is a link that does nothing to them. Probabilities and
// correlations are in [0, 1].
type Conditions struct {
	Delay            time.Duration // added to each packet; at most MaxDelay
	Jitter           time.Duration // the delay varies by ± this, or with this σ where there is a Distribution
	DelayCorrelation float64
	// Distribution is the jitter's shape; nil for uniform over ±Jitter. The kernel
	// never tells it.
	Distribution *Distribution

	Loss            float64 // of each packet on its own
	LossCorrelation float64 // broken in the kernel; see Lint
	// Burst is the mean length of a run of losses in packets: a wish that Resolve
	// turns into a GilbertElliott. 0 for losses that do not know of each other.
	Burst float64
	// At most one of these replaces Loss with a loss that has a memory.
	GilbertElliott GilbertElliott
	FourState      FourState

	Duplicate            float64
	DuplicateCorrelation float64
	Corrupt              float64 // of one flipped bit
	CorruptCorrelation   float64
	Reorder              float64 // of a packet that skips the delay
	ReorderCorrelation   float64
	// Gap lets only every Gap-th packet skip the delay; 0 and 1 for any.
	Gap uint32

	// Rate is in bits per second, 0 for unlimited; a multiple of 8, as the
	// kernel counts bytes.
	Rate           uint64
	PacketOverhead int32  // bytes that each packet costs beside its own, at Rate
	CellSize       uint32 // bytes; packets are rounded up to cells; 0 for no cells
	CellOverhead   int32  // bytes that each cell costs beside its own

	// Trace is when packets can leave, instead of Rate; DelayTrace how the delay goes,
	// instead of Delay. nil for none. netem has neither.
	Trace      *Trace
	DelayTrace *DelayTrace

	Slot Slot // packets leave in bursts; zero for none
	ECN  bool // marks packets that support it where it would lose them

	// Limit is how many packets, queued and delayed together, are held before it
	// drops; 0 for one that is chosen (see Resolve).
	Limit uint32
	// Queue is how long a packet may wait for its turn at Rate: a wish that Resolve
	// turns into a Limit. 0 for the default.
	Queue time.Duration

	// Seed of the kernel's generator, where it has one (Linux 6.6); 0 for one that
	// the kernel draws.
	Seed uint64
}

// GilbertElliott is a loss with two states, a good and a bad one. The zero value
// is no loss.
type GilbertElliott struct {
	ToBad      float64 // chance per packet to turn from good to bad; tc's p
	ToGood     float64 // and back; its inverse is the mean length of a bad time in packets; tc's r
	LossInBad  float64 // tc's 1-h
	LossInGood float64 // tc's 1-k
}

// Mean is the share of packets that g loses in the long run.
func (g GilbertElliott) Mean() float64 {
	if g.ToBad+g.ToGood == 0 {
		return g.LossInGood
	}
	bad := g.ToBad / (g.ToBad + g.ToGood)
	return bad*g.LossInBad + (1-bad)*g.LossInGood
}

// bursts is the model that loses the given share of packets in bursts of a mean
// length in packets, 1 or more. With bursts of 1/(1-loss) losses are almost independent.
func bursts(loss, length float64) GilbertElliott {
	toGood := 1 / length
	return GilbertElliott{ToBad: min(1, toGood*loss/(1-loss)), ToGood: toGood, LossInBad: 1}
}

// FourState is a loss with four states: 1 received in a gap, 2 received in a burst,
// 3 lost in a burst, 4 lost alone. The fields are the chances per packet to go from
// one to another. The zero value is no loss.
type FourState struct{ P13, P31, P32, P23, P14 float64 }

// Slot is how packets are held back and released in bursts: the pause between two
// is uniform over [MinDelay, MaxDelay], or drawn from a distribution.
type Slot struct {
	MinDelay, MaxDelay    time.Duration
	DistDelay, DistJitter time.Duration // mean and σ, instead of the two above
	Distribution          *Distribution // of DistDelay and DistJitter
	Packets, Bytes        int32         // the most in one burst; 0 for no limit
}

// MaxDelay is the longest delay. The kernel's 32-bit field wraps at 274.8 s, what is
// longer takes its 64-bit one; the bound is ours, against a slip of units.
const MaxDelay = time.Hour

// MaxJitter is where the kernel caps a jitter: 2³¹-1 ns.
const MaxJitter = 2147 * time.Millisecond

// IsZero reports whether c does nothing and wishes nothing.
func (c Conditions) IsZero() bool { return c == Conditions{} }

// String is c as ParseSpec reads it, without what is zero; "" for the zero value.
func (c Conditions) String() string {
	var parts []string
	for _, k := range keys {
		if text := k.format(&c); text != "" {
			parts = append(parts, k.name+"="+text)
		}
	}
	return strings.Join(parts, ",")
}

// Random reports whether chance has a part in what c does.
func (c Conditions) Random() bool {
	return c.loses() || c.Jitter > 0 || c.Duplicate > 0 || c.Corrupt > 0 || c.Reorder > 0 || c.Slot.DistJitter > 0 || c.Slot.MaxDelay > c.Slot.MinDelay
}

// Beyond is the first condition in c that netem does not have; "" where it has all.
func (c *Conditions) Beyond() string {
	switch {
	case c.Trace != nil:
		return "trace"
	case c.DelayTrace != nil:
		return "delay_trace"
	}
	return ""
}

// loses reports whether c loses packets on purpose.
func (c *Conditions) loses() bool {
	return c.Loss > 0 || c.GilbertElliott != GilbertElliott{} || c.FourState != FourState{}
}
