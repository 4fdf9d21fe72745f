package timing

import (
	"crypto/rand"
	"encoding/binary"
)

// golden is 2^64 divided by the golden ratio, the increment of splitmix64.
const golden = 0x9e3779b97f4a7c15

// Mix derives a seed from a seed and what tells this use from others, in
// order. Equal arguments give equal results on every machine and in every
// release: "same seed, same chaos" rests on it.
//
// The step is the finaliser of splitmix64. Source: Steele, Lea, Flood, "Fast
// splittable pseudorandom number generators", OOPSLA 2014.
func Mix(seed uint64, parts ...uint64) uint64 {
	h := finalise(seed + golden)
	for _, p := range parts {
		h = finalise((h ^ p) + golden)
	}
	return h
}

// MixString is Mix with the bytes of each text as its parts: a name, a host.
// ("ab", "c") and ("a", "bc") differ.
func MixString(seed uint64, parts ...string) uint64 {
	h := finalise(seed + golden)
	for _, s := range parts {
		h = finalise((h ^ fnv1a(s)) + golden)
		h = finalise((h ^ uint64(len(s))) + golden)
	}
	return h
}

// Unit maps x to [0, 1), evenly over the 2^53 values that a float64 holds
// there at one distance. x should come from Mix.
func Unit(x uint64) float64 { return float64(x>>11) * 0x1p-53 }

// Root returns a random root seed, for a run that was given none. It lies in
// [1, 2^53), so that it survives JSON readers that keep numbers as float64, and
// so that 0 can mean "none".
func Root() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program first
	return max(binary.LittleEndian.Uint64(b[:])>>11, 1)
}

func finalise(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// fnv1a is the 64-bit FNV-1a hash. Source: RFC 9923.
func fnv1a(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}
