package shaping

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"reflect"
	"testing"
	"time"
)

// The tests bring the encoder: the package itself writes nothing to a kernel.
type words []uint32

func (w words) bytes() []byte {
	var b []byte
	for _, v := range w {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

func attr(kind uint16, values ...[]byte) []byte {
	b := make([]byte, 4)
	for _, v := range values {
		b = append(b, v...)
	}
	binary.NativeEndian.PutUint16(b, uint16(len(b)))
	binary.NativeEndian.PutUint16(b[2:], kind)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func long(v int64) []byte { return binary.NativeEndian.AppendUint64(nil, uint64(v)) }

func fraction(p float64) uint32 { return uint32(p * math.MaxUint32) }

// encode is the inverse of decodeNetem, for 32-bit rates and independent or
// modelled loss.
func encode(n *Netem) []byte {
	b := words{uint32(n.Delay / netemTick), n.Limit, fraction(n.Loss), n.Gap, fraction(n.Duplicate), uint32(n.Jitter / netemTick)}.bytes()
	add := func(a []byte) { b = append(b, a...) }
	add(attr(netemLatency64, long(int64(n.Delay))))
	add(attr(netemJitter64, long(int64(n.Jitter))))
	add(attr(netemCorr, words{fraction(n.DelayCorrelation), fraction(n.LossCorrelation), fraction(n.DuplicateCorrelation)}.bytes()))
	add(attr(netemReorder, words{fraction(n.Reorder), fraction(n.ReorderCorrelation)}.bytes()))
	add(attr(netemCorrupt, words{fraction(n.Corrupt), fraction(n.CorruptCorrelation)}.bytes()))
	add(attr(netemRate, words{uint32(min(n.Rate/8, math.MaxUint32)), uint32(n.PacketOverhead), n.CellSize, uint32(n.CellOverhead)}.bytes()))
	if n.Rate/8 > math.MaxUint32 {
		add(attr(netemRate64, long(int64(n.Rate/8))))
	}
	if n.ECN {
		add(attr(netemECN, words{1}.bytes()))
	}
	model := func(ps []float64) []byte {
		var w words
		for _, p := range ps {
			w = append(w, fraction(p))
		}
		return w.bytes()
	}
	switch n.LossModel.Kind {
	case "gi":
		add(attr(netemLoss|0x8000, attr(lossGI, model(n.LossModel.GI[:]))))
	case "ge":
		add(attr(netemLoss|0x8000, attr(lossGE, model(n.LossModel.GilbertElliott[:]))))
	}
	if s := n.Slot; s != nil {
		add(attr(netemSlot, long(int64(s.MinDelay)), long(int64(s.MaxDelay)), words{uint32(s.Packets), uint32(s.Bytes)}.bytes(),
			long(int64(s.DistDelay)), long(int64(s.DistJitter))))
	}
	if n.Seed != 0 {
		add(attr(netemSeed, long(int64(n.Seed))))
	}
	add(attr(99, []byte("a newer kernel's")))
	return b
}

func TestDecodeNetem(t *testing.T) {
	tests := map[string]*Netem{
		"nothing": {},
		"delay":   {Conditions: Conditions{Delay: 40 * time.Millisecond, Jitter: 8 * time.Millisecond, Limit: 1000}, DelayCorrelation: 0.25},
		"all": {
			Conditions: Conditions{Delay: 12345678, Jitter: 1, Loss: 0.005, Duplicate: 0.01, Corrupt: 0.0001, Reorder: 0.5, Rate: 12_000_000, Limit: 7},
			Gap:        5, ECN: true, PacketOverhead: -14, CellSize: 48, CellOverhead: 5,
			LossCorrelation: 0.1, DuplicateCorrelation: 0.2, ReorderCorrelation: 0.3, CorruptCorrelation: 0.4,
			LossModel: LossModel{Kind: "ge", GilbertElliott: [4]float64{0.01, 0.3, 1, 0.02}},
			Slot:      &Slot{time.Millisecond, 2 * time.Millisecond, 10, 1500, 0, 0}, Seed: 42,
		},
		"wide": {Conditions: Conditions{Rate: 100_000_000_000}, LossModel: LossModel{Kind: "gi", GI: [5]float64{0.1, 0.2, 0.3, 0.4, 0.5}}},
	}
	for name, want := range tests {
		got, err := decodeNetem(encode(want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: decodeNetem = %+v, %v, want %+v", name, got, err, want)
		}
	}
}

// The classic 24 bytes alone, in ticks: 40 ms are 625,000 of them.
func TestDecodeNetemTicks(t *testing.T) {
	got, err := decodeNetem(words{625_000, 1000, 21474836, 0, 0, 125_000}.bytes())
	want := Conditions{Delay: 40 * time.Millisecond, Jitter: 8 * time.Millisecond, Loss: 0.005, Limit: 1000}
	if err != nil || got.Conditions != want {
		t.Errorf("decodeNetem = %+v, %v, want %+v", got, err, want)
	}
}

func TestDecodeNetemRefusesTorn(t *testing.T) {
	whole := encode(&Netem{Conditions: Conditions{Rate: 8}, LossModel: LossModel{Kind: "gi"}})
	for _, torn := range [][]byte{nil, whole[:23], whole[:26], append(words{0, 0, 0, 0, 0, 0}.bytes(), attr(netemRate, []byte{1})...),
		append(words{0, 0, 0, 0, 0, 0}.bytes(), attr(netemLoss, attr(lossGE, []byte{1, 2, 3}))...)} {
		if got, err := decodeNetem(torn); err == nil {
			t.Errorf("decodeNetem(%s) = %+v, want an error", hex.EncodeToString(torn), got)
		}
	}
}

// Decode, encode, decode agrees, for what the encoder can say.
func FuzzDecodeNetem(f *testing.F) {
	f.Add(encode(&Netem{Conditions: Conditions{Delay: time.Millisecond, Loss: 0.5, Rate: 800}}))
	f.Add(encode(&Netem{LossModel: LossModel{Kind: "ge", GilbertElliott: [4]float64{0.1, 0.2, 0.3, 0.4}}, Slot: &Slot{Packets: 3}}))
	f.Add(bytes.Repeat([]byte{0xff}, 24))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := decodeNetem(data)
		if err != nil {
			return
		}
		second, err := decodeNetem(encode(first))
		if err != nil {
			t.Fatalf("decode of what was decoded: %v", err)
		}
		// Probabilities may move by one step of the fraction, and the model
		// that is not the last one of several is lost.
		near := func(a, b float64) bool { return math.Abs(a-b)*math.MaxUint32 <= 2 }
		if !near(first.Loss, second.Loss) || !near(first.Reorder, second.Reorder) || !near(first.CorruptCorrelation, second.CorruptCorrelation) {
			t.Fatalf("probabilities: %+v, then %+v", first, second)
		}
		if first.Delay != second.Delay || first.Jitter != second.Jitter || first.Limit != second.Limit || first.Rate != second.Rate ||
			first.Gap != second.Gap || first.ECN != second.ECN || first.Seed != second.Seed || !reflect.DeepEqual(first.Slot, second.Slot) {
			t.Fatalf("decoded %+v, then %+v", first, second)
		}
	})
}
