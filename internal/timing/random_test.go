package timing

import "testing"

func TestMixIsSplitmix64(t *testing.T) {
	// The first outputs of splitmix64 seeded with 1234567, as published with
	// the reference implementation.
	state := uint64(1234567)
	for i, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423} {
		if got := finalise(state + golden*uint64(i+1)); got != want {
			t.Errorf("splitmix64(1234567) output %d = %d, want %d", i, got, want)
		}
	}
	if got, want := Mix(1234567), uint64(6457827717110365317); got != want {
		t.Errorf("Mix(1234567) = %d, want %d", got, want)
	}
}

func TestMixTellsPartsApart(t *testing.T) {
	seen := map[uint64]string{}
	for name, x := range map[string]uint64{
		"none": Mix(7), "1": Mix(7, 1), "2": Mix(7, 2), "1,2": Mix(7, 1, 2), "2,1": Mix(7, 2, 1),
		"other seed": Mix(8, 1), "0": Mix(7, 0), "0,0": Mix(7, 0, 0),
		"ab,c": MixString(7, "ab", "c"), "a,bc": MixString(7, "a", "bc"), "empty": MixString(7, ""),
		"ab": MixString(7, "ab"), "ba": MixString(7, "ba"),
	} {
		if other, ok := seen[x]; ok {
			t.Errorf("Mix of %q and of %q are both %d, want them different", name, other, x)
		}
		seen[x] = name
	}
}

func TestUnitStaysBelowOneAndIsEven(t *testing.T) {
	if got := Unit(^uint64(0)); got >= 1 {
		t.Errorf("Unit(max) = %v, want below 1", got)
	}
	if got := Unit(0); got != 0 {
		t.Errorf("Unit(0) = %v, want 0", got)
	}
	var buckets [10]int
	for i := range uint64(100_000) {
		buckets[int(Unit(Mix(42, i))*10)]++
	}
	for i, n := range buckets {
		if n < 9_600 || n > 10_400 { // four standard deviations
			t.Errorf("share of draws in tenth %d = %d of 100000, want about 10000", i, n)
		}
	}
}

func TestRootFitsAFloat(t *testing.T) {
	a, b := Root(), Root()
	if a == 0 || a >= 1<<53 {
		t.Errorf("Root() = %d, want it in [1, 2^53)", a)
	}
	if a == b {
		t.Errorf("Root() twice = %d both times, want them different", a)
	}
}

func BenchmarkMix(b *testing.B) {
	b.ReportAllocs()
	var x uint64
	for b.Loop() {
		x = Mix(x, 1, 2, 3)
	}
}
