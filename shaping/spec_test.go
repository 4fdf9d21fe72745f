package shaping

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

func TestParseSpec(t *testing.T) {
	tests := []struct {
		spec string
		want Conditions
		text string // what String gives; "" for spec itself
	}{
		{"delay=40ms,jitter=8ms,loss=0.5%,rate=12mbit",
			Conditions{Delay: 40 * time.Millisecond, Jitter: 8 * time.Millisecond, Loss: 0.005, Rate: 12_000_000}, ""},
		{" rate = 1.5Mbit , delay= 1s ", Conditions{Delay: time.Second, Rate: 1_500_000}, "delay=1s,rate=1500kbit"},
		{"loss=100%", Conditions{Loss: 1}, ""},
		{"loss=0.07%", Conditions{Loss: 0.0007}, ""},
		{"loss=07.50%", Conditions{Loss: 0.075}, "loss=7.5%"},
		{"delay=10ms,duplicate=1%,corrupt=0.001%,reorder=25%,limit=5000",
			Conditions{Delay: 10 * time.Millisecond, Duplicate: 0.01, Corrupt: 0.00001, Reorder: 0.25, Limit: 5000}, ""},
		{"delay=300s,jitter=2s,delay_correlation=25%,distribution=paretonormal",
			Conditions{Delay: 300 * time.Second, Jitter: 2 * time.Second, DelayCorrelation: 0.25, Distribution: packaged()["paretonormal"]},
			"delay=5m0s,jitter=2s,delay_correlation=25%,distribution=paretonormal"},
		{"delay=1ms,jitter=1us,distribution=uniform", Conditions{Delay: time.Millisecond, Jitter: time.Microsecond}, "delay=1ms,jitter=1µs"},
		{"gemodel=1%", Conditions{GilbertElliott: GilbertElliott{0.01, 0.99, 1, 0}}, "gemodel=1%/99%/100%/0%"},
		{"gemodel=1%/10%/70%/0.1%", Conditions{GilbertElliott: GilbertElliott{0.01, 0.1, 0.7, 0.001}}, ""},
		{"state=1%", Conditions{FourState: FourState{P13: 0.01, P31: 0.99, P23: 1}}, "state=1%/99%/0%/100%/0%"},
		{"state=1%/20%/30%/40%/5%", Conditions{FourState: FourState{0.01, 0.2, 0.3, 0.4, 0.05}}, ""},
		{"loss=1%,burst=5", Conditions{Loss: 0.01, Burst: 5}, ""},
		{"delay=10ms,loss=1%,loss_correlation=2%,duplicate=3%,duplicate_correlation=4%,corrupt=5%,corrupt_correlation=6%,reorder=7%,reorder_correlation=8%,gap=5",
			Conditions{Delay: 10 * time.Millisecond, Loss: 0.01, LossCorrelation: 0.02, Duplicate: 0.03, DuplicateCorrelation: 0.04, Corrupt: 0.05,
				CorruptCorrelation: 0.06, Reorder: 0.07, ReorderCorrelation: 0.08, Gap: 5}, ""},
		{"rate=2mbit,overhead=-14,cell=48,cell_overhead=5,queue=200ms,seed=42",
			Conditions{Rate: 2_000_000, PacketOverhead: -14, CellSize: 48, CellOverhead: 5, Queue: 200 * time.Millisecond, Seed: 42}, ""},
		{"slot=5ms/20ms,slot_packets=10,slot_bytes=15000,ecn=true,limit=7",
			Conditions{Slot: Slot{MinDelay: 5 * time.Millisecond, MaxDelay: 20 * time.Millisecond, Packets: 10, Bytes: 15000}, ECN: true, Limit: 7}, ""},
		{"slot=5ms", Conditions{Slot: Slot{MinDelay: 5 * time.Millisecond, MaxDelay: 5 * time.Millisecond}}, ""},
		{"slot_delay=5ms,slot_jitter=1ms,slot_distribution=normal",
			Conditions{Slot: Slot{DistDelay: 5 * time.Millisecond, DistJitter: time.Millisecond, Distribution: packaged()["normal"]}}, ""},
		{"rate=8bit", Conditions{Rate: 8}, ""},
		{"rate=10gbit", Conditions{Rate: 10_000_000_000}, ""},
	}
	for _, tt := range tests {
		got, err := ParseSpec(tt.spec)
		if err != nil || got != tt.want {
			t.Errorf("ParseSpec(%q) = %+v, %v, want %+v", tt.spec, got, err, tt.want)
		}
		want := tt.text
		if want == "" {
			want = tt.spec
		}
		if s := got.String(); s != want {
			t.Errorf("String of %q = %q, want %q", tt.spec, s, want)
		}
	}
	if c, err := ParseSpec("delay=0s"); err != nil || !c.IsZero() || c.String() != "" {
		t.Errorf("delay=0s = %+v, %v, want nothing", c, err)
	}
}

func TestParseSpecErrors(t *testing.T) {
	for spec, want := range map[string]string{
		"":                              "link:1:1: want conditions, got nothing",
		"lte":                           `link:1:1: want KEY=VALUE, got "lte"`,
		"delay=40ms,":                   `link:1:12: want KEY=VALUE, got ""`,
		"delay=40ms, speed=3":           `link:1:13: unknown condition "speed"`,
		"Delay=40ms":                    `link:1:1: unknown condition "Delay"`,
		"delay=1ms,delay=2ms":           "link:1:11: delay: is there twice",
		"delay=40":                      `link:1:7: delay: want a duration such as "40ms", got "40"`,
		"delay=-1ms":                    "link:1:7: delay: want a duration of 0 or more",
		"delay=61m":                     "link:1:7: delay: want at most 1h0m0s",
		"delay=200s,jitter=3s":          "link:1:19: jitter: want at most 2.147s",
		"loss=0.5":                      `link:1:6: loss: want a percentage such as "0.5%", got "0.5"`,
		"loss=101%":                     "link:1:6: loss: want at most 100%",
		"loss=%":                        "link:1:6: loss: want a percentage",
		"loss=-1%":                      "link:1:6: loss: want a percentage",
		"loss=1e1%":                     "link:1:6: loss: want a percentage",
		"loss=NaN%":                     "link:1:6: loss: want a percentage",
		"rate=12":                       `link:1:6: rate: want a rate such as "12mbit", got "12"`,
		"rate=12mbps":                   `link:1:6: rate: want a rate`,
		"rate=0mbit":                    "link:1:6: rate: want a rate from 8bit",
		"rate=12bit":                    "link:1:6: rate: want a rate of whole bytes",
		"rate=9999999999gbit":           "link:1:6: rate: want a rate from 8bit",
		"limit=0":                       "link:1:7: limit: want a number from 1",
		"limit=4294967296":              "link:1:7: limit: want a number",
		"delay=5ms,jitter=8ms":          "link:1:18: jitter: want at most the delay, 5ms, got 8ms",
		"jitter=8ms":                    "link:1:8: jitter: want at most the delay",
		"delay=1ms,distribution=normal": "link:1:24: distribution: want a jitter with it",
		"delay=1ms,jitter=1us,distribution=gauss":            `link:1:35: distribution: unknown distribution "gauss"`,
		"delay=1ms,jitter=1us,distribution=file:/etc/passwd": "link:1:35: distribution: no file can be read here",
		"gemodel=1%/2%/3%/4%/5%":                             "link:1:9: gemodel: want 1 to 4 percentages",
		"loss=1%,gemodel=1%":                                 "link:1:17: gemodel: want one kind of loss",
		"state=60%/0%/0%/0%/50%":                             "link:1:7: state: want p13 and p14",
		"burst=5":                                            "link:1:7: burst: want a loss with it",
		"loss=1%,burst=0.5":                                  "link:1:15: burst: want a number of packets from 1",
		"slot=5ms/1ms":                                       "link:1:6: slot: want the shorter pause first",
		"slot=1ms,slot_delay=1ms,slot_jitter=1us":            "link:1:6: slot: want one kind of pause",
		"slot_packets=3":                                     "link:1:14: slot_packets: want a slot with it",
		"queue=10ms":                                         "link:1:7: queue: want a rate with it",
		"rate=1mbit,queue=10ms,limit=3":                      "link:1:18: queue: want a queue or a limit",
		"overhead=3":                                         "link:1:10: overhead: want a rate with it",
		"ecn=yes":                                            "link:1:5: ecn: want true or false",
		"seed=0":                                             "link:1:6: seed: want a number above 0",
		"reorder=5%":                                         "link:1:9: reorder: want a delay with it",
		"délai=5ms":                                          `link:1:1: unknown condition "délai"`,
		"delay=5ms, löss=1%":                                 `link:1:12: unknown condition "löss"`,
		"delay=5ms,loss= 1,rate":                             "link:1:17: loss: want a percentage",
	} {
		c, err := ParseSpec(spec)
		var e *place.Error
		if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), want) || c != (Conditions{}) {
			t.Errorf("ParseSpec(%q) = %+v, %v, want %q", spec, c, err, want)
		}
	}
	if _, err := ParseSpec("loss=0.5"); !strings.Contains(place.Detail(err), "hint: write the percent sign") {
		t.Errorf("detail = %s", place.Detail(err))
	}
}

// What was parsed is written so that it parses to the same, and is in range.
func FuzzParseSpec(f *testing.F) {
	for _, s := range []string{"delay=40ms,jitter=8ms,loss=0.5%,rate=12mbit", "loss=0.07%", "rate=1.5mbit", "limit=7", "delay=1h", "delay=9ms,jitter=1ms,distribution=normal,state=1%/2%/3%/4%/5%,seed=3", "slot=1ms/2ms,slot_bytes=7,ecn=true", "rate=1gbit,cell=48,queue=1s,loss=0.1%,burst=1.5", "reorder=3%,delay=1ns"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		c, err := ParseSpec(spec)
		if err != nil {
			var e *place.Error
			if !errors.As(err, &e) || e.Line != 1 || e.Column < 1 || e.Column > len(spec)+1 {
				t.Fatalf("ParseSpec(%q) = %#v, want a place in it", spec, err)
			}
			return
		}
		for _, p := range []float64{c.Loss, c.Duplicate, c.Corrupt, c.Reorder} {
			if !(p >= 0 && p <= 1) {
				t.Fatalf("ParseSpec(%q): probability %v", spec, p)
			}
		}
		if c.IsZero() {
			return
		}
		back, err := ParseSpec(c.String())
		if err != nil || back != c {
			t.Fatalf("ParseSpec(%q) = %+v, but its String %q gives %+v, %v", spec, c, c.String(), back, err)
		}
	})
}

func mustParse(t *testing.T, spec string) Conditions {
	t.Helper()
	c, err := ParseSpec(spec)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A condition that is nearly one is told which.
func TestUnknownConditionHint(t *testing.T) {
	for spec, want := range map[string]string{
		"delay=40ms,ratte=1mbit": `did you mean "rate"?`, "jiter=1ms": `did you mean "jitter"?`, "bandwidth=3": "conditions: delay, jitter,",
	} {
		_, err := ParseSpec(spec)
		if e := new(place.Error); !errors.As(err, &e) || !strings.HasPrefix(e.Hint, want) {
			t.Errorf("ParseSpec(%q) = %v, want the hint %q", spec, err, want)
		}
	}
}
