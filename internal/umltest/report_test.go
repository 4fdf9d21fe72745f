package umltest

import (
	"reflect"
	"testing"
)

func TestParse(t *testing.T) {
	got := parse(`=== RUN   TestA
=== RUN   TestA/one
    a_test.go:1: said
=== NAME  TestA
    a_test.go:2: more
--- FAIL: TestA (0.10s)
    --- PASS: TestA/one (0.05s)
=== RUN   TestB
    b_test.go:7: no kernel
--- SKIP: TestB (0.00s)
=== RUN   TestC
panic: oh
FAIL
`)
	want := []*result{
		{"TestA", "FAIL", []string{"    a_test.go:2: more"}},
		{"TestA/one", "PASS", []string{"    a_test.go:1: said"}},
		{"TestB", "SKIP", []string{"    b_test.go:7: no kernel"}},
		{"TestC", "", []string{"panic: oh"}},
	}
	if !reflect.DeepEqual(got, want) {
		for i := range got {
			t.Logf("%+v", *got[i])
		}
		t.Errorf("parse = %d results, want %d as written", len(got), len(want))
	}
}

// The rig itself: a kernel boots, and is not this one.
func TestInUserModeLinux(t *testing.T) { Run(t, "^TestGuest$") }

func TestGuest(t *testing.T) {
	Guest(t)
	t.Log("here")
}
