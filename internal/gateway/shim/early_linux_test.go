package shim

import (
	"strings"
	"testing"
)

func TestWantsEarly(t *testing.T) {
	for line, want := range map[string]bool{
		"understudy record -o tape -- ./app --forward":       true,
		"understudy replay -f tape --rules r.yaml -- true":   true,
		"understudy proxy -- true":                           true,
		"understudy proxy --":                                false,
		"understudy proxy":                                   false,
		"understudy":                                         false,
		"understudy check -- true":                           false,
		"understudy record --forward 127.0.0.1:0 -- true":    false,
		"understudy record --forward=127.0.0.1:0 -- true":    false,
		"understudy record --capture proxy -- true":          false,
		"understudy record --config understudy.yaml -- true": false,
		"shim.test -test.run X":                              false,
	} {
		if got := wantsEarly(strings.Fields(line)); got != want {
			t.Errorf("wantsEarly(%s) = %v, want %v", line, got, want)
		}
	}
}

func TestInheritedInOrder(t *testing.T) {
	last := 2
	for _, fd := range inherited() {
		if fd <= last {
			t.Errorf("%d comes after %d", fd, last)
		}
		last = fd
	}
}
