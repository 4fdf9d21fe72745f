package shaping

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/nstest"
	"github.com/understudy-proxy/understudy/internal/umltest"
)

func TestGuestTrapJitterWithoutDelay(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	if a, err := Apply(t.Context(), p.target(), Link{Up: Conditions{Jitter: 10 * time.Millisecond}}); err == nil {
		t.Errorf("Apply of a jitter without a delay = %v, want an error", a.Findings())
	}
}

// Jitter alone reorders; with a rate, as the finding says, it does not.
func TestGuestTrapJitterReorders(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	a := p.apply(Link{Up: mustParse(t, "delay=20ms,jitter=5ms")})
	c := p.dial()
	if n := disorder(p.send(c, 1000, 64, 200*time.Microsecond)); n == 0 {
		t.Error("no packet overtook another: the trap is not there any more")
	}
	if err := a.Change(t.Context(), Link{Up: mustParse(t, "delay=20ms,jitter=5ms,rate=500mbit")}); err != nil {
		t.Fatal(err)
	}
	if n := disorder(p.send(c, 1000, 64, 200*time.Microsecond)); n != 0 {
		t.Errorf("with a rate %d packets were overtaken, want none", n)
	}
	// The other way: steps of the delay alone. Most stay in order.
	n := 0
	for i := range 10 {
		if err := a.Change(t.Context(), Link{Up: Conditions{Delay: time.Duration(18+i%5) * time.Millisecond}}); err != nil {
			t.Fatal(err)
		}
		n += disorder(p.send(c, 100, 64, time.Millisecond))
	}
	if n > 30 {
		t.Errorf("with steps of the delay %d of 1000 packets were overtaken, want 3%% at most", n)
	}
}

// Reorder without a gap is what people write; with the kernel's gap of 0 it does nothing.
func TestGuestTrapReorderNeedsGap(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	p.apply(Link{Up: mustParse(t, "delay=20ms,reorder=25%")})
	early := 0
	for _, a := range p.send(p.dial(), 1000, 64, 500*time.Microsecond) {
		if a.took < 10*time.Millisecond {
			early++
		}
	}
	if early < 180 || early > 320 {
		t.Errorf("%d of 1000 packets skipped the delay, want some 250", early)
	}
}

func TestGuestTrapLossCorrelation(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	a := p.apply(Link{Up: mustParse(t, "loss=5%,loss_correlation=25%")})
	lost := 4000 - len(p.send(p.dial(), 4000, 64, 0))
	t.Logf("5%% with 25%% correlation lost %d of 4000", lost)
	if lost > 100 {
		t.Errorf("correlated loss lost %d of 4000, near the 200 that were asked for: the trap is not there any more, mend Lint", lost)
	}
	found := false
	for _, f := range a.Findings() {
		found = found || f.Name == "loss_correlation" && strings.Contains(f.Better, "burst")
	}
	if !found {
		t.Errorf("findings = %v, want one on loss_correlation with its remedy", a.Findings())
	}
}

func TestGuestTrapGSO(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	segs := func() uint32 {
		l, err := nstest.HandleAt(t, p.near).LinkByName("us0")
		if err != nil {
			t.Fatal(err)
		}
		return l.Attrs().GSOMaxSegs
	}
	before := segs()
	a := p.apply(Link{Up: Conditions{Loss: 0.01}, Down: Conditions{Loss: 0.01}})
	if n := segs(); n != 1 {
		t.Errorf("gso_max_segs = %d, want 1 while shaped", n)
	}
	if err := a.Restore(); err != nil || segs() != before || before < 2 {
		t.Errorf("gso_max_segs = %d after Restore (%v), want %d", segs(), err, before)
	}
	keep := p.target()
	keep.KeepGSO = true
	b, err := Apply(t.Context(), keep, Link{Up: Conditions{Loss: 0.01}})
	if err != nil || segs() != before {
		t.Fatalf("with KeepGSO gso_max_segs = %d, %v, want %d", segs(), err, before)
	}
	if err := b.Restore(); err != nil {
		t.Error(err)
	}
}

// A limit below rate × delay throttles, and one that is chosen does not.
func TestGuestTrapLimit(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	c := p.dial()
	a := p.apply(Link{Up: mustParse(t, "delay=500ms,limit=50")})
	if got := p.send(c, 400, 64, 0); len(got) > 200 {
		t.Errorf("%d of 400 packets came through a limit of 50, want it to bind", len(got))
	}
	warned := false
	for _, f := range a.Findings() {
		warned = warned || f.Name == "limit" && f.Level == Warning
	}
	if !warned {
		t.Errorf("findings = %v, want a warning about the limit", a.Findings())
	}
	if err := a.Change(t.Context(), Link{Up: mustParse(t, "delay=500ms")}); err != nil {
		t.Fatal(err)
	}
	if got := p.send(c, 400, 64, 0); len(got) != 400 {
		t.Errorf("%d of 400 packets came with a limit that was chosen, want all", len(got))
	}
}

// A slot's table cannot be taken back: a range of pauses takes one of its own.
func TestGuestTrapSlotTable(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	a := p.apply(Link{Up: mustParse(t, "slot_delay=50ms,slot_jitter=10ms,slot_distribution=pareto")})
	if err := a.Change(t.Context(), Link{Up: mustParse(t, "slot=10ms/20ms,slot_packets=5")}); err != nil {
		t.Fatal(err)
	}
	// The middle one of 200 waits for twenty pauses at most; with the table's it would
	// be a second, however fast they were sent.
	const most = 20 * 20 * time.Millisecond
	c := p.dial()
	sometime(t, func() error {
		got := p.send(c, 200, 64, time.Millisecond)
		if m := median(got); len(got) != 200 || m > most {
			return fmt.Errorf("%d of 200 packets came, %v late at the median, want pauses of 10 to 20 ms", len(got), m)
		}
		return nil
	})
	if err := a.Change(t.Context(), Link{Up: mustParse(t, "slot=10ms")}); err == nil {
		t.Error("Change to a pause of one length: want an error that explains")
	}
}

// One netem that duplicates forbids others on the same interface; ours stands alone,
// or the finding is in the kernel's own words.
func TestGuestTrapDuplicate(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	p.apply(Link{Up: mustParse(t, "duplicate=100%")})
	seen := map[int]int{}
	for _, a := range p.send(p.dial(), 100, 64, time.Millisecond) {
		seen[a.seq]++
	}
	if len(seen) != 100 || seen[50] != 2 {
		t.Errorf("%d packets came, number 50 %d times, want all 100 twice", len(seen), seen[50])
	}
}

// What stood there before is back, whatever it was.
func TestGuestRestoresWhatItFound(t *testing.T) {
	umltest.Guest(t)
	for name, set := range map[string][]string{
		"the kernel's choice": nil,
		"pfifo":               {"handle", "5:", "pfifo", "limit", "33"},
		"tbf":                 {"handle", "5:", "tbf", "rate", "10mbit", "burst", "20kb", "latency", "50ms"},
		"fq_codel":            {"handle", "5:", "fq_codel", "target", "7ms"},
		"netem":               {"handle", "5:", "netem", "delay", "10ms", "loss", "1%", "reorder", "5%"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			if set != nil {
				p.output(p.near, "tc", append([]string{"qdisc", "add", "dev", "us0", "root"}, set...)...)
			}
			before := p.output(p.near, "tc", "qdisc", "show", "dev", "us0") + p.output(p.near, "ip", "-o", "link", "show")
			a := p.apply(Link{Up: everythingForGuest(), Down: Conditions{Loss: 0.01}})
			if !strings.Contains(p.output(p.near, "tc", "qdisc", "show", "dev", "us0"), "netem 7573:") {
				t.Error("no netem 7573: there")
			}
			if _, err := Apply(t.Context(), p.target(), Link{Up: Conditions{Loss: 0.1}}); err == nil || !strings.Contains(err.Error(), "already") {
				t.Errorf("a second Apply = %v, want it refused", err)
			}
			if err := a.Restore(); err != nil {
				t.Fatal(err)
			}
			after := p.output(p.near, "tc", "qdisc", "show", "dev", "us0") + p.output(p.near, "ip", "-o", "link", "show")
			if before != after {
				t.Errorf("after Restore:\n%swant\n%s", after, before)
			}
		})
	}
}

// What could not be put back is refused, and nothing is touched.
func TestGuestRefusesWhatItCannotRestore(t *testing.T) {
	umltest.Guest(t)
	for name, set := range map[string][][]string{
		"htb":             {{"qdisc", "add", "dev", "us0", "root", "handle", "5:", "htb", "default", "10"}},
		"netem in prio":   {{"qdisc", "add", "dev", "us0", "root", "handle", "5:", "prio"}, {"qdisc", "add", "dev", "us0", "parent", "5:1", "netem", "delay", "1ms"}},
		"child":           {{"qdisc", "add", "dev", "us0", "root", "handle", "5:", "netem", "delay", "1ms"}, {"qdisc", "add", "dev", "us0", "parent", "5:1", "pfifo"}},
		"netem's jitter":  {{"qdisc", "add", "dev", "us0", "root", "handle", "5:", "netem", "delay", "10ms", "1ms"}},
		"others' ingress": {{"qdisc", "add", "dev", "us0", "ingress"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			for _, args := range set {
				p.output(p.near, "tc", args...)
			}
			before := p.output(p.near, "tc", "qdisc", "show", "dev", "us0")
			a, err := Apply(t.Context(), p.target(), Link{Up: Conditions{Loss: 0.01}, Down: Conditions{Loss: 0.01}})
			if err == nil {
				t.Errorf("Apply = %v, want it refused", a.Findings())
			}
			if after := p.output(p.near, "tc", "qdisc", "show", "dev", "us0"); after != before {
				t.Errorf("now it has\n%swant\n%s", after, before)
			}
		})
	}
}

// A failure halfway leaves nothing behind.
func TestGuestFailureHalfway(t *testing.T) {
	umltest.Guest(t)
	p := newPair(t)
	l, err := nstest.HandleAt(t, p.near).LinkByName("us0")
	if err != nil {
		t.Fatal(err)
	}
	before := p.output(p.near, "tc", "qdisc", "show", "dev", "us0")
	f, err := Look(p.target(), Link{Up: Conditions{Loss: 0.1}, Down: Conditions{Loss: 0.1}})
	if err != nil {
		t.Fatal(err)
	}
	// Somebody puts an ingress qdisc there in between.
	if err := nstest.HandleAt(t, p.near).QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index,
		Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}); err != nil && err != unix.EEXIST {
		t.Fatal(err)
	}
	if _, err := applyOver(t.Context(), p.target(), Link{Up: Conditions{Loss: 0.1}, Down: Conditions{Loss: 0.1}}, f); err == nil {
		t.Error("ApplyOver over another's ingress: want an error")
	}
	after := p.output(p.near, "tc", "qdisc", "show", "dev", "us0")
	if !strings.Contains(after, "ingress") || strings.Contains(after, "netem") || before == after {
		t.Errorf("now it has\n%swant the other's ingress and no netem", after)
	}
}
