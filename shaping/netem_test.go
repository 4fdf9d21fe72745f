package shaping

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"
)

// everything has a value in each field that the kernel is told. Two cannot stand
// beside each other: a second model of loss, and a second kind of slot.
func everything() Conditions {
	return Conditions{
		Delay: 300 * time.Second, Jitter: 12345678, DelayCorrelation: 0.25, Distribution: packaged()["pareto"],
		LossCorrelation: 0.1, GilbertElliott: GilbertElliott{0.01, 0.3, 0.7, 0.002},
		Duplicate: 0.01, DuplicateCorrelation: 0.2, Corrupt: 0.0001, CorruptCorrelation: 0.4,
		Reorder: 0.5, ReorderCorrelation: 0.3, Gap: 5,
		Rate: 100_000_000_000, PacketOverhead: -14, CellSize: 48, CellOverhead: 5,
		Slot: Slot{DistDelay: time.Millisecond, DistJitter: 2 * time.Microsecond, Distribution: packaged()["normal"], Packets: 10, Bytes: 1500},
		ECN:  true, Limit: 7, Seed: 42,
	}
}

func TestEncodeDecode(t *testing.T) {
	states := everything()
	states.GilbertElliott, states.FourState = GilbertElliott{}, FourState{0.1, 0.2, 0.3, 0.4, 0.5}
	own := Conditions{Delay: time.Second, Jitter: time.Millisecond, Distribution: &Distribution{Table: []int16{-8192, 0, 8192}}}
	for name, want := range map[string]Conditions{
		"nothing":    {},
		"delay":      {Delay: 40 * time.Millisecond, Jitter: 8 * time.Millisecond, Limit: 1000},
		"everything": everything(),
		"states":     states,
		"own table":  own,
		"slots":      {Slot: Slot{MinDelay: 1, MaxDelay: 2 * time.Millisecond, Packets: 3}},
		"half":       {Delay: 1, Loss: 0.5, Reorder: 0.07},
		"certain":    {Loss: 1, Duplicate: 1, Corrupt: 1},
	} {
		data, err := want.Encode()
		if err != nil {
			t.Errorf("%s: Encode: %v", name, err)
			continue
		}
		got, err := Decode(data)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: Decode(Encode) = %+v, %v, want %+v", name, got, err, want)
		}
	}
}

// A field that is forgotten in the codec is found here, not by a user.
func TestEverythingIsEverything(t *testing.T) {
	v := reflect.ValueOf(everything())
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() && !slices.Contains([]string{"Loss", "Burst", "FourState", "Queue", "Trace", "DelayTrace"}, name) {
			t.Errorf("everything() has no %s", name)
		}
	}
}

// What stands in the 24 bytes and in which attribute, against linux/pkt_sched.h.
func TestEncodeLayout(t *testing.T) {
	c := Conditions{Delay: 40 * time.Millisecond, Jitter: 8 * time.Millisecond, Loss: 0.005, Limit: 1000, Reorder: 0.5}
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if want := words(625_000, 1000, 21474836, 1, 0, 125_000); !bytes.Equal(data[:24], want) {
		t.Errorf("tc_netem_qopt = %x, want %x", data[:24], want)
	}
	var kinds []uint16
	if err := eachAttr(data[24:], func(kind uint16, v []byte) error {
		kinds = append(kinds, kind)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// Every group is there though only some are set: nothing survives a change.
	want := []uint16{netemLatency64, netemJitter64, netemCorr, netemReorder, netemCorrupt, netemRate, netemECN, netemSlot, netemDelayDist}
	if !slices.Equal(kinds, want) {
		t.Errorf("attributes = %v, want %v", kinds, want)
	}
	if long, err := (Conditions{Delay: time.Hour}).Encode(); err != nil || native.Uint32(long) != math.MaxUint32 {
		t.Errorf("ticks of an hour = %d, %v, want them saturated", native.Uint32(long), err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	table := &Distribution{Table: make([]int16, MaxTable)}
	for name, c := range map[string]Conditions{
		"wish":   {Rate: 8, Queue: time.Second},
		"burst":  {Loss: 0.1, Burst: 2},
		"tables": {Jitter: 1, Distribution: table, Slot: Slot{DistJitter: 1, Distribution: table}},
	} {
		if _, err := c.Encode(); err == nil {
			t.Errorf("%s: Encode has no error", name)
		}
	}
}

// The classic 24 bytes alone, in ticks: 40 ms are 625,000 of them.
func TestDecodeTicks(t *testing.T) {
	got, err := Decode(words(625_000, 1000, 21474836, 0, 0, 125_000))
	want := Conditions{Delay: 40 * time.Millisecond, Jitter: 8 * time.Millisecond, Loss: 0.005, Limit: 1000}
	if err != nil || got != want {
		t.Errorf("Decode = %+v, %v, want %+v", got, err, want)
	}
}

func TestDecodeRefusesTorn(t *testing.T) {
	whole, _ := Conditions{Rate: 8}.Encode()
	head := make([]byte, 24)
	for _, torn := range [][]byte{nil, whole[:23], whole[:26], append(head[:24:24], nlAttr(netemRate, []byte{1})...),
		append(head[:24:24], nlAttr(netemLoss, nlAttr(lossGE, []byte{1, 2, 3}))...)} {
		if got, err := Decode(torn); err == nil {
			t.Errorf("Decode(%s) = %+v, want an error", hex.EncodeToString(torn), got)
		}
	}
}

// Decode and Encode are each other's inverse: what was decoded, whoever wrote it,
// is encoded to what decodes to the same, and encodes to the same bytes.
func FuzzDecode(f *testing.F) {
	for _, c := range []Conditions{{}, everything(), {Delay: time.Millisecond, Loss: 0.5, Rate: 800}, {FourState: FourState{0.1, 0.2, 0.3, 0.4, 0.5}}} {
		data, err := c.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(data, nlAttr(99, []byte("a newer kernel's"))...))
	}
	f.Add(bytes.Repeat([]byte{0xff}, 24))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := Decode(data)
		if err != nil {
			return
		}
		again, err := first.Encode()
		if err != nil { // two long tables in one message
			if len(data) < math.MaxUint16-200 {
				t.Fatalf("Encode of what was decoded: %v", err)
			}
			return
		}
		second, err := Decode(again)
		if err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("decoded %+v, then %+v, %v", first, second, err)
		}
		if third, err := second.Encode(); err != nil || !bytes.Equal(again, third) {
			t.Fatalf("encoded %x, then %x, %v", again, third, err)
		}
	})
}

func TestDifference(t *testing.T) {
	had := everything()
	had.Distribution, had.Slot.Distribution = nil, nil // as a kernel tells it
	if d := Difference(everything(), had); d != nil {
		t.Errorf("Difference = %q, want none", d)
	}
	had.Seed, had.GilbertElliott.ToBad, had.Delay = 7, 0.02, had.Delay+1
	want := []string{"delay: asked for 5m0s, the kernel has 5m0.000000001s",
		"gemodel: asked for 1%/30%/70%/0.2%, the kernel has 2%/30%/70%/0.2%", "seed: asked for 42, the kernel has 7"}
	if d := Difference(everything(), had); !slices.Equal(d, want) {
		t.Errorf("Difference = %q, want %q", d, want)
	}
	asked := everything()
	asked.Seed = 0
	had = asked
	had.Seed = 99 // drawn by the kernel
	if d := Difference(asked, had); d != nil {
		t.Errorf("Difference = %q, want none for a seed that nobody asked for", d)
	}
}
