package shaping

import (
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

func readPatch(t *testing.T, text string) (Patch, error) {
	t.Helper()
	b, err := NewBook()
	if err != nil {
		t.Fatal(err)
	}
	b.Open = func(string) ([]byte, error) { return []byte("10ms\n20ms\n30ms\n90ms\n"), nil }
	f := place.NewFile("patch.yaml", []byte(text))
	node, err := place.ParseYAML(f, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return b.ReadPatch(f, node)
}

func TestPatchOver(t *testing.T) {
	for _, tt := range []struct{ patch, over, want string }{
		{"{delay: 200ms}", "delay=40ms,jitter=8ms,rate=12mbit", "delay=200ms,jitter=8ms,rate=12mbit"},
		{"delay=200ms,rate=1mbit", "delay=40ms,jitter=8ms,rate=12mbit", "delay=200ms,jitter=8ms,rate=1mbit"},
		{"{jitter: 0ms}", "delay=40ms,jitter=8ms", "delay=40ms"},
		{"{jitter: 5ms}", "delay=40ms", "delay=40ms,jitter=5ms"},
		{"{loss: 5%}", "gemodel=1%/10%", "loss=5%"},
		{"{loss: 5%}", "loss=1%,burst=3", "loss=5%"},
		{"{burst: 5}", "loss=1%,burst=3", "loss=1%,burst=5"},
		{"{gemodel: 1%/10%}", "loss=1%,burst=3", "gemodel=1%/10%/100%/0%"},
		{"{queue: 1s}", "rate=1mbit,limit=50", "rate=1mbit,queue=1s"},
		{"{limit: 50}", "rate=1mbit,queue=1s", "rate=1mbit,limit=50"},
		{"{slot: 10ms}", "slot_delay=5ms,slot_jitter=1ms,slot_distribution=normal", "slot=10ms"},
		{"{slot_delay: 5ms, slot_jitter: 1ms}", "slot=10ms,slot_packets=5", "slot_delay=5ms,slot_jitter=1ms,slot_packets=5"},
		{"cable", "delay=40ms,jitter=8ms,loss=3%,seed=7", "delay=14ms,rate=1mbit,queue=250ms,seed=7"},
		{"{profile: cable, loss: 1%}", "delay=40ms,jitter=8ms", "delay=14ms,loss=1%,rate=1mbit,queue=250ms"},
		{"distribution=file:rtt.txt", "delay=1ms,jitter=1ms", "delay=37.5ms,jitter=28.462386ms,distribution=file:rtt.txt"},
		{"distribution=file:rtt.txt,jitter=3ms", "delay=1ms,jitter=1ms", "delay=1ms,jitter=3ms,distribution=file:rtt.txt"},
	} {
		below, err := ParseSpec(tt.over)
		if err != nil {
			t.Fatal(err)
		}
		p, err := readPatch(t, tt.patch)
		if err != nil {
			t.Fatalf("ReadPatch(%s) = %v", tt.patch, err)
		}
		if got := p.Over(below, Up).String(); got != tt.want {
			t.Errorf("%s over %s = %s, want %s", tt.patch, tt.over, got, tt.want)
		}
	}
	for text, want := range map[string]string{
		"{}": "there are no conditions", "{dleay: 1ms}": `patch.yaml:1:2: unknown condition "dleay"`, "lte,loss=3": "loss: want a percentage",
	} {
		if p, err := readPatch(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ReadPatch(%s) = %v, %v, want an error with %q", text, p, err, want)
		}
	}
}

// Whatever a patch names it brings, in any conditions, and what has nothing to do with
// that stays.
func TestPatchNamesOne(t *testing.T) {
	full := Conditions{Delay: time.Second, Jitter: time.Millisecond, Rate: 8000, PacketOverhead: 3, CellSize: 48, CellOverhead: 5, Gap: 2, ECN: true, Seed: 9, Duplicate: .5}
	for _, k := range keys {
		named := Conditions{}
		k.copy(&named, &full)
		p := Patch{link: Link{Down: full, Up: full}, keys: []*key{find(k.name)}}
		got := p.Over(Conditions{}, Down)
		if got != named || k.format(&got) != k.format(&full) {
			t.Errorf("a patch that names %s over nothing = %v, want %v", k.name, got, named)
		}
		if got := (Patch{keys: p.keys}).Over(full, Down); k.format(&got) != "" {
			t.Errorf("a patch that takes %s away leaves %s", k.name, k.format(&got))
		}
	}
}

func TestOutage(t *testing.T) {
	c, err := ParseSpec("delay=40ms,loss=1%,burst=3,duplicate=5%,ecn=true")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Outage().String(); got != "delay=40ms,loss=100%" {
		t.Errorf("Outage = %s, want nothing that lets a packet through", got)
	}
}
