package admin

import (
	"slices"
	"sync"
	"testing"
)

func TestRing(t *testing.T) {
	r := NewRing[int](3)
	if got := r.Latest(5, nil); got == nil || len(got) != 0 {
		t.Errorf("Latest of nothing = %v, want an empty list", got)
	}
	for i := range 5 {
		r.Push(i)
	}
	for _, tc := range []struct {
		n    int
		keep func(*int) bool
		want []int
	}{
		{5, nil, []int{4, 3, 2}},
		{2, nil, []int{4, 3}},
		{0, nil, []int{}},
		{-1, nil, []int{}},
		{1, func(v *int) bool { return *v%2 == 1 }, []int{3}},
	} {
		if got := r.Latest(tc.n, tc.keep); !slices.Equal(got, tc.want) {
			t.Errorf("Latest(%d) = %v, want %v", tc.n, got, tc.want)
		}
	}
	if r.Total() != 5 {
		t.Errorf("Total = %d, want 5", r.Total())
	}
}

// While others push, what is read is in order and never torn or stale.
func TestRingUnderPushes(t *testing.T) {
	r := NewRing[[2]int](16)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				r.Push([2]int{g, i})
			}
		})
	}
	for range 200 {
		last := map[int]int{0: 1 << 30, 1: 1 << 30, 2: 1 << 30, 3: 1 << 30}
		for _, v := range r.Latest(16, nil) {
			if v[1] >= last[v[0]] {
				t.Fatalf("Latest has %v after %d", v, last[v[0]])
			}
			last[v[0]] = v[1]
		}
	}
	wg.Wait()
	if got := len(r.Latest(100, nil)); got != 16 || r.Total() != 8000 {
		t.Errorf("len(Latest), Total = %d, %d, want 16, 8000", got, r.Total())
	}
}

// A push that was overtaken by a whole round does not come back over the later one.
func TestRingOvertaken(t *testing.T) {
	r := NewRing[string](1)
	r.PushFunc(func(to *string) { *to = "early" })
	r.next.Store(4)
	r.Push("late") // number 5
	r.next.Store(2)
	r.Push("slow") // number 3, stored after 5
	r.next.Store(5)
	if got := r.Latest(1, nil); !slices.Equal(got, []string{"late"}) {
		t.Errorf("Latest = %v, want [late]", got)
	}
}

func BenchmarkRingPush(b *testing.B) {
	r := NewRing[Exchange](1000)
	x := Exchange{Method: "GET", URL: "http://shop.test/"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.Push(x)
		}
	})
}
