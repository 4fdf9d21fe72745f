package recorder

import (
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

// Options say how to record. The zero value is a sound recording with the
// default redaction.
type Options struct {
	// Redaction says what is a secret; it is taken out before the disk.
	Redaction redact.Config
	// BodyLimit is the size in bytes above which a body goes to a file of its
	// own, piece by piece; 0 for 256 KiB.
	BodyLimit int
	// BinaryLimit is the same for bodies that are no text; 0 for 4 KiB.
	BinaryLimit int
	// Budget bounds the bytes held in memory, under way and queued; 0 for
	// 64 MiB. What does not fit is dropped and counted. An eighth of it may hold
	// large bodies that came before, to know them when they come again, and some
	// 1.5 MiB small ones.
	Budget int64
	// Queue bounds the finished exchanges that wait to be written; 0 for 8192.
	// As many again may wait as mere names of dropped ones.
	Queue int
	// SyncEvery bounds how long something written may wait for an fsync; 0 for
	// 500 ms.
	SyncEvery time.Duration
	// Tool is the program's name and version, for the manifest.
	Tool string
	// Now is the wall clock, for the manifest; nil for time.Now.
	Now func() time.Time
	// OnError, when not nil, is told once, from the writer's goroutine, why the
	// recording stopped. Traffic goes on.
	OnError func(error)
	// OnLoss, when not nil, is told once, from the writer's goroutine, why the first
	// exchange was lost of a recording that goes on.
	OnLoss func(Reason)
	// Append adds to a cassette that is already there.
	Append bool
	// Keep, when not nil, says at an exchange's beginning whether to record it.
	// Its request's head is known by then.
	Keep func(x *fixtures.Exchange) bool
	// Ledger, when not nil, is told what was kept and lost, and fills the
	// manifest's account of the traffic.
	Ledger *Ledger
}

func (o Options) withDefaults() Options {
	orDefault(&o.BodyLimit, 256<<10)
	orDefault(&o.BinaryLimit, 4<<10)
	orDefault(&o.Budget, 64<<20)
	orDefault(&o.Queue, 8192)
	orDefault(&o.SyncEvery, 500*time.Millisecond)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Ledger == nil {
		o.Ledger = NewLedger(0)
	}
	return o
}

func orDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Reason is why the recording of an exchange was lost.
type Reason string

// The reasons for a loss.
const (
	LostQueue      Reason = "queue full"    // too many exchanges waited to be written
	LostBudget     Reason = "memory budget" // its bytes did not fit into Options.Budget
	LostDisk       Reason = "disk"          // the recording had stopped at an error
	LostEncoding   Reason = "encoding"      // it could not be put into the cassette's form
	LostUnfinished Reason = "unfinished"    // it was still under way when the recording ended
)
