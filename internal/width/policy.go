package width

import (
	"math"
	"time"
)

// Bounds in processors. By measuring, two processors shared with wrk and nginx: a
// run that is better off narrow leaves 0.0–0.5 idle wide and as much narrow, one
// connection 0.7–0.9 either way. Single samples stray by 0.3.
const (
	scarce = 0.5  // idle in the whole machine: less is a full machine
	spare  = 0.75 // likewise: from here on there is one to be had
	work   = 0.25 // used by this program: less is not worth a change
	rest   = 0.05 // likewise: less is no work at all
	slack  = 0.15 // what is used beyond a whole number and saved by being narrow
	filled = 0.95 // of the width: more is to be had only by widening
)

const (
	window = 3 // samples that are judged together
	// quiet is how long a narrow program may have nothing to do.
	quiet = 10 * time.Second
	// A narrow time shorter than brief, ended with work still there, was a
	// mistake. The next one waits for firstWait, and twice as long each time the
	// same work asks for it again.
	brief     = 5 * time.Second
	firstWait = time.Second
	lastWait  = 64 * time.Second
	// young is how long a load that a nudge told of is looked at closely.
	young = 300 * time.Millisecond
	// A nudge is heeded once in nudgeEvery, and nudgeBurst times in a row after a
	// time without: else a health check that costs next to nothing would be looked
	// at without end.
	nudgeEvery = time.Second
	nudgeBurst = 4
	// recall is how long after a narrow time that ended with its work one look at a load
	// that begins is enough: mostly it is the same, as the rounds of a load generator are.
	recall = 5 * time.Minute
)

// sample is what was seen over a time.
type sample struct {
	took time.Duration
	idle time.Duration // of all of the machine's processors together
	used time.Duration // processor time of this program

	switches uint64 // from one thread to another, in the whole machine
	done     uint64 // exchanges of this program
}

// of is a part of the sample's time, in processors.
func (s sample) of(part time.Duration) float64 { return float64(part) / float64(s.took) }

// policy decides on the width. The zero policy is wide. It sees time pass by its
// samples alone.
type policy struct {
	width int // 0 is wide: all that the runtime takes
	awake bool

	seen  [window]sample
	count int // of seen, in turn, since the last change or rest

	now       time.Duration
	changedAt time.Duration
	workedAt  time.Duration
	notBefore time.Duration // of narrowing
	wait      time.Duration // the last one after a mistake, 0 for none

	youngUntil time.Duration
	restedAt   time.Duration // when a narrow time ended with its work; 0 where the last did not
	nudgedFor  time.Duration // all nudges up to now have been heeded, at nudgeEvery each, until then
}

// next takes a sample and returns the width from now on, 0 for wide. Full is what
// wide means.
func (p *policy) next(full int, s sample) int {
	if s.took <= 0 {
		return p.width
	}
	p.now += s.took
	if s.of(s.used) >= rest {
		p.workedAt = p.now
	}
	if p.width == 0 && (p.workedAt < p.now || !p.awake) {
		p.awake = p.workedAt == p.now
		p.count = 0 // what began within the sample is not all in it
		return 0
	}
	p.seen[p.count%window] = s
	if p.count++; p.recalls(full, s) {
		p.change(p.wants(s.of(s.used)))
	}
	if p.count < window {
		return p.width
	}
	idle, used := p.judged()
	switch want := p.wants(used); {
	case p.width == 0:
		if idle < scarce && used >= work && want < full && p.now >= p.notBefore {
			if p.now-p.notBefore >= brief {
				p.wait = 0 // it was wide long enough to be other work
			}
			p.change(want)
		}
	case idle >= spare, idle >= scarce && used >= filled*float64(p.width):
		p.widen(s.of(s.used) >= work)
	case p.now-p.workedAt >= quiet:
		p.widen(false)
	}
	return p.width
}

// recalls is whether s, the first sample of a load that a nudge told of, is enough to be
// narrow again. Whether it was a mistake is judged as ever.
func (p *policy) recalls(full int, s sample) bool {
	return p.width == 0 && p.count == 1 && p.now <= p.youngUntil && p.remembers() &&
		s.of(s.idle) < scarce && s.of(s.used) >= work && p.wants(s.of(s.used)) < full
}

// remembers is whether the last narrow time ended with its work, and not long ago.
func (p *policy) remembers() bool { return p.restedAt > 0 && p.now-p.restedAt <= recall }

// wants is the width for so many processors used.
func (p *policy) wants(used float64) int { return max(1, int(math.Ceil(used-slack))) }

// judged is what was idle and used over the window, in processors.
func (p *policy) judged() (idle, used float64) {
	var all sample
	for _, s := range p.seen {
		all.took += s.took
		all.idle += s.idle
		all.used += s.used
	}
	return all.of(all.idle), all.of(all.used)
}

// widen ends a narrow time. Working says that there is still work.
func (p *policy) widen(working bool) {
	p.restedAt = 0
	switch {
	case !working:
		p.wait, p.restedAt = 0, p.now
	case p.now-p.changedAt >= brief:
		p.wait = 0
	default:
		p.wait = min(max(firstWait, 2*p.wait), lastWait)
		p.notBefore = p.now + p.wait
	}
	p.change(0)
}

func (p *policy) change(width int) {
	p.width, p.changedAt, p.count = width, p.now, 0
}

// wake tells of a nudge that is heeded: work may begin just after the last sample,
// so that the next one is all in it.
func (p *policy) wake() {
	p.awake, p.count = true, 0
	p.youngUntil = p.now + young
	p.nudgedFor = max(p.nudgedFor, p.now) + nudgeEvery
}

// heeds is whether a nudge would tell something: at rest, unless too many came to nothing.
func (p *policy) heeds() bool {
	return p.resting() && p.nudgedFor-p.now <= (nudgeBurst-1)*nudgeEvery
}

// pause is how long to wait for the next sample.
func (p *policy) pause() time.Duration {
	switch {
	case p.resting():
		return seldom
	case p.width == 0 && p.now < p.youngUntil:
		return soon
	}
	return often
}

// resting is whether there is nothing to look at closely.
func (p *policy) resting() bool { return p.width == 0 && !p.awake }
