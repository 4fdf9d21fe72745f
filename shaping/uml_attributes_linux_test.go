package shaping

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/internal/umltest"
)

// tcNetem is netem's options as tc -j shows them: times in seconds, rates in bytes
// per second, chances in [0, 1].
type tcNetem struct {
	Limit uint32
	Gap   uint32
	ECN   bool
	Seed  uint64
	Delay struct{ Delay, Jitter, Correlation float64 }
	Loss  struct{ Loss, Correlation float64 } `json:"loss-random"`
	GE    *struct {
		P, R float64
		H    float64 `json:"1-h"`
		K    float64 `json:"1-k"`
	} `json:"loss-gemodel"`
	State     *struct{ P13, P31, P32, P23, P14 float64 } `json:"loss-state"`
	Duplicate struct{ Duplicate, Correlation float64 }
	Reorder   struct{ Reorder, Correlation float64 }
	Corrupt   struct{ Corrupt, Correlation float64 }
	Rate      struct {
		Rate           uint64
		PacketOverhead int32
		CellSize       uint32
		CellOverhead   int32
	}
}

// tcShow is what tc shows of the netem on near's end.
func (p *pair) tcShow() (tcNetem, string) {
	p.t.Helper()
	out := p.output(p.near, "tc", "-s", "-j", "qdisc", "show", "dev", "us0")
	var all []struct {
		Kind, Handle string
		Options      json.RawMessage
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		p.t.Fatalf("tc says %s: %v", out, err)
	}
	for _, q := range all {
		if q.Kind == "netem" {
			var n tcNetem
			if err := json.Unmarshal(q.Options, &n); err != nil {
				p.t.Fatalf("tc says %s: %v", out, err)
			}
			return n, string(q.Options)
		}
	}
	p.t.Fatalf("tc shows no netem: %s", out)
	return tcNetem{}, ""
}

func (n tcNetem) conditions() Conditions {
	// tc prints chances with few digits, and times in microseconds.
	p := func(v float64) float64 { return math.Round(v*1e6) / 1e6 }
	d := func(v float64) time.Duration { return time.Duration(math.Round(v*1e6)) * time.Microsecond }
	c := Conditions{Delay: d(n.Delay.Delay), Jitter: d(n.Delay.Jitter), DelayCorrelation: p(n.Delay.Correlation),
		Loss: p(n.Loss.Loss), LossCorrelation: p(n.Loss.Correlation), Duplicate: p(n.Duplicate.Duplicate), DuplicateCorrelation: p(n.Duplicate.Correlation),
		Reorder: p(n.Reorder.Reorder), ReorderCorrelation: p(n.Reorder.Correlation), Corrupt: p(n.Corrupt.Corrupt), CorruptCorrelation: p(n.Corrupt.Correlation),
		Rate: 8 * n.Rate.Rate, PacketOverhead: n.Rate.PacketOverhead, CellSize: n.Rate.CellSize, CellOverhead: n.Rate.CellOverhead,
		Gap: n.Gap, Limit: n.Limit, ECN: n.ECN, Seed: n.Seed}
	if c.Gap == 1 {
		c.Gap = 0
	}
	if n.GE != nil {
		c.GilbertElliott = GilbertElliott{p(n.GE.P), p(n.GE.R), p(n.GE.H), p(n.GE.K)}
	}
	if n.State != nil {
		c.FourState = FourState{p(n.State.P13), p(n.State.P31), p(n.State.P32), p(n.State.P23), p(n.State.P14)}
	}
	return c
}

// attributeSpecs set every key that reaches the kernel.
var attributeSpecs = []string{
	"delay=40ms",
	"delay=300s", // beyond what 32 bits of ticks hold
	"delay=40ms,jitter=8ms,delay_correlation=25%",
	"delay=40ms,jitter=8ms,distribution=normal",
	"delay=40ms,jitter=8ms,distribution=pareto",
	"delay=40ms,jitter=8ms,distribution=paretonormal",
	"delay=40ms,jitter=8ms,distribution=experimental",
	"loss=0.5%", "loss=100%",
	"loss=5%,loss_correlation=25%",
	"loss=1%,burst=5",
	"gemodel=1%/10%/70%/0.1%",
	"state=1%/20%/30%/40%/5%",
	"duplicate=1%,duplicate_correlation=10%",
	"corrupt=0.1%,corrupt_correlation=10%",
	"delay=10ms,reorder=25%,reorder_correlation=50%",
	"delay=10ms,reorder=25%,gap=5",
	"rate=12mbit", "rate=100gbit",
	"rate=2mbit,overhead=26,cell=48,cell_overhead=5",
	"rate=2mbit,overhead=-14",
	"rate=2mbit,queue=50ms",
	"slot=5ms/20ms,slot_packets=10,slot_bytes=15000",
	"slot_delay=5ms,slot_jitter=1ms,slot_distribution=normal,slot_packets=3",
	"loss=1%,ecn=true",
	"limit=77",
	"seed=42,loss=1%",
}

// Each attribute is set, read back, agreed by tc, and gone after the next change.
func TestGuestEveryAttribute(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	a := p.apply(Link{Up: everythingForGuest()})
	used := map[string]bool{}
	for _, spec := range attributeSpecs {
		t.Run(strings.ReplaceAll(spec, "/", "|"), func(t *testing.T) {
			c := mustParse(t, spec)
			for _, k := range keys {
				used[k.name] = used[k.name] || k.format(&c) != ""
			}
			// Change verifies by reading back all attributes: what survives from
			// the setting before is an error.
			if err := a.Change(t.Context(), Link{Up: c}); err != nil {
				t.Fatalf("Change = %v", err)
			}
			want, _ := c.Resolve()
			n, text := p.tcShow()
			got := n.conditions()
			got.Slot = want.Slot // compared below
			seedless := want
			seedless.Seed = got.Seed // Linux 6.1 has none
			// tc shows the 32 bits of ticks, which end there. What the kernel has in
			// its 64-bit field is what Change read back.
			seedless.Delay = min(seedless.Delay, 274878*time.Millisecond)
			for _, d := range Difference(roundAsTC(seedless), got) {
				t.Errorf("tc disagrees: %s; it says %s", d, text)
			}
			// tc changes the names of slots' fields from release to release.
			if s := want.Slot; s != (Slot{}) && !strings.Contains(text, "slot") {
				t.Errorf("tc shows no slot: %s", text)
			}
			if c.Slot == (Slot{}) && strings.Contains(text, "slot") {
				t.Errorf("a slot survived: %s", text)
			}
		})
	}
	for _, k := range keys {
		if !used[k.name] && k.name != "distribution" && k.name != "trace" && k.name != "delay_trace" { // netem has no traces
			t.Errorf("no spec sets %s", k.name)
		}
	}
}

// everythingForGuest is everything, with a delay that lets tests go on.
func everythingForGuest() Conditions {
	c := everything()
	c.Delay = 20 * time.Millisecond
	return c
}

// roundAsTC is c with chances as tc prints them: floats of 32 bits, in text.
func roundAsTC(c Conditions) Conditions {
	for _, p := range []*float64{&c.GilbertElliott.ToBad, &c.GilbertElliott.ToGood, &c.GilbertElliott.LossInBad, &c.GilbertElliott.LossInGood} {
		v, _ := strconv.ParseFloat(strconv.FormatFloat(*p, 'g', 6, 64), 64)
		*p = math.Round(v*1e6) / 1e6
	}
	return c
}

// A seed that the kernel ignores is said; one that it takes comes back.
func TestGuestSeedIsProved(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	a := p.apply(Link{Up: Conditions{Loss: 0.1, Seed: 42}})
	state, err := Show(p.target())
	if err != nil || len(state.Qdiscs) != 1 {
		t.Fatalf("Show = %+v, %v", state, err)
	}
	said := false
	for _, f := range a.Findings() {
		said = said || f.Name == "seed" && f.Level == Warning
	}
	if took := state.Qdiscs[0].Netem.Seed == 42; took == said {
		t.Errorf("the kernel has seed %d, and findings are %v: want one of both", state.Qdiscs[0].Netem.Seed, a.Findings())
	}
}

// What the kernel says about a refusal reaches the user.
func TestGuestExtack(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	c, err := dial(p.near)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	_, err = c.setQdisc(1<<20, 0, rawQdisc{kind: "netem", parent: ownHandle})
	if err == nil {
		t.Error("a qdisc on a link that is not there: want an error")
	}
	l, err := c.link("us0")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.setQdisc(l.Attrs().Index, 0, rawQdisc{kind: "nonesuch", handle: ownHandle, parent: 0xffffffff})
	if err == nil || !strings.Contains(err.Error(), "the kernel says: ") {
		t.Errorf("setQdisc of a kind that is none = %v, want the kernel's words", err)
	}
}
