package shaping

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// ParseSpec reads conditions as one line, such as
//
//	delay=40ms,jitter=8ms,loss=0.5%,rate=12mbit
//
// docs/links.md has the keys, each at most once; white space around them is
// allowed. It opens no file: distribution=file:PATH, traces and profiles' names are for
// a Book. The error is a *place.Error with the column.
func ParseSpec(spec string) (Conditions, error) {
	var none *Book
	l, err := none.Parse(spec)
	return l.Down, err
}

// word is one part of a spec with the offsets of its name and value.
type word struct {
	name, value     string
	hasValue        bool
	nameAt, valueAt int
}

// split cuts a spec at its commas.
func split(spec string) []word {
	var words []word
	offset := 0
	for part := range strings.SplitSeq(spec, ",") {
		begin := offset + len(part) - len(strings.TrimLeft(part, " \t"))
		name, value, hasValue := strings.Cut(strings.TrimSpace(part), "=")
		valueAt := begin + len(name) + 1 + len(value) - len(strings.TrimLeft(value, " \t"))
		words = append(words, word{strings.TrimRight(name, " \t"), strings.TrimLeft(value, " \t"), hasValue, begin, valueAt})
		offset += len(part) + 1
	}
	return words
}

// Parse reads a spec for both directions of a link: a profile's name, conditions,
// or a name and, after it, conditions that replace the profile's in both
// directions. Conditions without a name hold in each direction: delay=40ms makes a
// round trip of 80 ms. A nil Book knows no profiles and opens no files.
func (b *Book) Parse(spec string) (Link, error) {
	p, err := b.parse(spec, true)
	return p.link, err
}

// parse is Parse for a patch. alone is set where its conditions stand on their own and
// must make sense without any below them.
func (b *Book) parse(spec string, alone bool) (Patch, error) {
	f := place.NewFile("link", []byte(spec))
	at := func(offset int, prefix string, err error) (Patch, error) {
		p := asProblem(err)
		return Patch{}, f.At(1, utf8.RuneCountInString(spec[:offset])+1, p.hint, "%s%s", prefix, p.msg)
	}
	if strings.TrimSpace(spec) == "" {
		return at(0, "", &problem{"want conditions, got nothing", "such as delay=40ms,loss=0.5%"})
	}
	var patch Patch
	l := &patch.link
	where := map[string]int{} // the offset of each value
	for i, w := range split(spec) {
		if !w.hasValue && i == 0 && b != nil {
			base, err := b.profile(w.name)
			if err != nil {
				return at(w.nameAt, "", err)
			}
			*l, patch.profile = base, w.name
			continue
		}
		k := find(w.name)
		switch {
		case !w.hasValue:
			return at(w.nameAt, "", &problem{"want KEY=VALUE, got \"" + w.name + "\"", keyHint()})
		case k == nil:
			return at(w.nameAt, "", &problem{"unknown condition \"" + w.name + "\"", unknownKeyHint(w.name)})
		}
		if _, twice := where[w.name]; twice {
			return at(w.nameAt, w.name+": ", &problem{"is there twice", ""})
		}
		where[w.name] = w.valueAt
		patch.keys = append(patch.keys, k)
		for _, c := range []*Conditions{&l.Down, &l.Up} {
			if err := b.set(c, k, w.value); err != nil {
				return at(w.valueAt, w.name+": ", err)
			}
		}
	}
	for _, c := range []*Conditions{&l.Down, &l.Up} {
		b.complete(c, func(name string) bool { _, is := where[name]; return is })
		if name, p := c.conflict(); p != nil && alone {
			return at(where[name], name+": ", p)
		}
	}
	return patch, nil
}

// complete takes out what was there before (a profile's, or below a patch) and what was
// given replaces, and puts in what a measured distribution brings.
func (b *Book) complete(c *Conditions, given func(name string) bool) {
	if given("loss") || given("gemodel") || given("state") {
		if !given("loss") {
			c.Loss = 0
		}
		if !given("burst") {
			c.Burst = 0
		}
		if !given("gemodel") {
			c.GilbertElliott = GilbertElliott{}
		}
		if !given("state") {
			c.FourState = FourState{}
		}
	}
	if given("trace") && !given("rate") {
		c.Rate = 0
		for name, field := range map[string]*int32{"overhead": &c.PacketOverhead, "cell_overhead": &c.CellOverhead} {
			if !given(name) {
				*field = 0
			}
		}
		if !given("cell") {
			c.CellSize = 0
		}
	}
	if given("rate") && !given("trace") {
		c.Trace = nil
	}
	if given("delay_trace") && !given("delay") && !given("jitter") {
		c.Delay, c.Jitter, c.DelayCorrelation, c.Distribution = 0, 0, 0, nil
	}
	if given("delay") && !given("delay_trace") {
		c.DelayTrace = nil
	}
	if given("limit") && !given("queue") {
		c.Queue = 0
	}
	if given("queue") && !given("limit") {
		c.Limit = 0
	}
	s, ranged, drawn := &c.Slot, given("slot"), given("slot_delay") || given("slot_jitter")
	if drawn && !ranged {
		s.MinDelay, s.MaxDelay = 0, 0
	}
	if ranged && !drawn {
		s.DistDelay, s.DistJitter = 0, 0
		if !given("slot_distribution") {
			s.Distribution = nil
		}
	}
	b.fit(c)
}

// asProblem is err with the parts that a place needs.
func asProblem(err error) *problem {
	var p *problem
	if !errors.As(err, &p) {
		p = &problem{msg: err.Error()}
	}
	return p
}

// conflict names a condition that makes no sense beside the others.
func (c *Conditions) conflict() (name string, p *problem) {
	s := c.Slot
	models := 0
	for _, on := range []bool{c.Loss > 0, c.GilbertElliott != GilbertElliott{}, c.FourState != FourState{}} {
		if on {
			models++
		}
	}
	switch {
	case c.Jitter > c.Delay && c.Distribution == nil:
		return "jitter", &problem{"want at most the delay, " + c.Delay.String() + ", got " + c.Jitter.String(),
			"no packet arrives before it was sent"}
	case c.Jitter > 0 && c.Delay == 0:
		return "jitter", &problem{"want a delay with it", "jitter is around a delay"}
	case c.Distribution != nil && c.Jitter == 0:
		return "distribution", &problem{"want a jitter with it", "a distribution is jitter's shape; the jitter is its σ"}
	case c.Reorder > 0 && c.Delay == 0:
		return "reorder", &problem{"want a delay with it", "reordered packets are those that skip the delay"}
	case models > 1 && c.GilbertElliott != GilbertElliott{}:
		return "gemodel", &problem{"want one kind of loss, got more", "keep one of loss, gemodel and state"}
	case models > 1:
		return "state", &problem{"want one kind of loss, got more", "keep one of loss, gemodel and state"}
	case c.Burst > 0 && (c.Loss == 0 || c.Loss == 1):
		return "burst", &problem{"want a loss with it, below 100%", "such as loss=1%,burst=5"}
	case c.FourState.P13+c.FourState.P14 > 1:
		return "state", &problem{"want p13 and p14 of at most 100% together", ""}
	case c.FourState.P31+c.FourState.P32 > 1:
		return "state", &problem{"want p31 and p32 of at most 100% together", ""}
	case (s.MinDelay > 0 || s.MaxDelay > 0) && (s.DistDelay > 0 || s.DistJitter > 0):
		return "slot", &problem{"want one kind of pause, got two", "keep slot, or slot_delay with slot_jitter"}
	case s.DistDelay > 0 && s.DistJitter == 0:
		return "slot_delay", &problem{"want a slot_jitter with it", "for a pause that is always the same: slot=" + s.DistDelay.String()}
	case s.Distribution != nil && s.DistJitter == 0:
		return "slot_distribution", &problem{"want a slot_jitter with it", ""}
	case s.Packets > 0 && s.MaxDelay == 0 && s.DistJitter == 0:
		return "slot_packets", &problem{"want a slot with it", "such as slot=10ms,slot_packets=5"}
	case s.Bytes > 0 && s.MaxDelay == 0 && s.DistJitter == 0:
		return "slot_bytes", &problem{"want a slot with it", "such as slot=10ms,slot_bytes=15000"}
	case c.Trace != nil && c.Rate > 0:
		return "trace", &problem{"want a trace or a rate, got both", "a trace says when packets leave"}
	case c.DelayTrace != nil && (c.Delay > 0 || c.Jitter > 0):
		return "delay_trace", &problem{"want a delay or a trace of it, got both", "a trace says each delay"}
	case c.Rate == 0 && c.Trace == nil && c.Queue > 0:
		return "queue", &problem{"want a rate with it", "without one no packet waits"}
	case c.Queue > 0 && c.Limit > 0:
		return "queue", &problem{"want a queue or a limit, got both", "a queue in time is turned into a limit in packets"}
	case c.Rate == 0 && (c.PacketOverhead != 0 || c.CellSize != 0 || c.CellOverhead != 0):
		return "overhead", &problem{"want a rate with it", "overhead and cells are part of a rate's arithmetic"}
	case c.CellOverhead != 0 && c.CellSize == 0:
		return "cell_overhead", &problem{"want a cell with it", "such as cell=48,cell_overhead=5"}
	}
	return "", nil
}

func find(name string) *key {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

func keyHint() string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return "conditions: " + strings.Join(names, ", ")
}

// unknownKeyHint is the condition that was meant, if it can be told, else all.
func unknownKeyHint(name string, more ...string) string {
	names := more
	for _, k := range keys {
		names = append(names, k.name)
	}
	if near := place.Nearest(name, names); near != "" {
		return "did you mean \"" + near + "\"?"
	}
	return strings.Join(append([]string{keyHint()}, more...), ", ")
}
