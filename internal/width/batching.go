package width

import "time"

// Work is what a Keeper asks of those who do the work while there is one processor for
// it. A nil field is not asked; batching needs both.
type Work struct {
	Done func() uint64 // exchanges done up to now
	// Batch is told, by the goroutine of Run, whether who is about to write shall let
	// others do so that are ready, so that writes follow each other closely. At first,
	// and when Run has ended, they need not.
	Batch func(on bool)
}

// Bounds by measuring, two processors shared with wrk and nginx, 16 and 64
// connections: 0.1–0.3 switches of the whole machine an exchange where the others find
// work when they look for it, 0.5–2.5 where writes wake them, and then 0.25–0.7 in
// batches. With 4 connections it is 2–3 either way.
const (
	dear     = 0.35             // switches an exchange: more are wake-ups that batches may save
	gain     = 0.85             // of the switches without batches: more are no gain
	busy     = 1000             // exchanges a second: of fewer a look tells nothing
	look     = 3 * often        // one sample strays by a seventh
	tryAgain = 10 * time.Second // batches, before a look without them
)

// batching decides whether there are to be batches. They cost a twentieth where nobody
// need be woken, so they are for where somebody is. The zero batching has none.
type batching struct {
	on    bool
	alone float64 // switches an exchange without, as last seen
	known float64 // the same before a rest that ended batches; 0 for none
	seen  sample  // since the last look was over

	now, changedAt time.Duration
	notBefore      time.Duration
	wait           time.Duration // the last one after no gain, 0 for none
}

// next takes a sample, made with one processor, and returns whether there are to be
// batches from now on.
func (b *batching) next(s sample) bool {
	if float64(s.done) < busy*s.took.Seconds() {
		b.rest()
		return false
	}
	b.now += s.took
	if b.known > 0 { // most likely it is the same load
		b.alone, b.known = b.known, 0
		b.change(true)
		return true
	}
	b.seen.took += s.took
	b.seen.switches += s.switches
	if b.seen.done += s.done; b.seen.took < look {
		return b.on
	}
	each := float64(b.seen.switches) / float64(b.seen.done)
	b.seen = sample{}
	switch {
	case !b.on:
		if b.alone = each; each >= dear && b.now >= b.notBefore {
			b.change(true)
		}
	case each > gain*b.alone:
		b.wait = min(max(firstWait, 2*b.wait), lastWait)
		b.notBefore = b.now + b.wait
		b.change(false)
	case b.now-b.changedAt >= tryAgain:
		b.wait = 0
		b.change(false)
	}
	return b.on
}

// rest ends batches until there is work for one processor again.
func (b *batching) rest() {
	known := b.known
	if b.on {
		known = b.alone
	}
	*b = batching{known: known}
}

func (b *batching) change(on bool) { b.on, b.changedAt = on, b.now }
