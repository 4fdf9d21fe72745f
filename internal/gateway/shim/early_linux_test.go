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

func TestGuessOrder(t *testing.T) {
	asks, plain := &Guess{AskOutside: true}, &Guess{}
	for line, want := range map[string]*Guess{
		"understudy proxy -- true --rules r.yaml --link x":  plain,
		"understudy record -o tape -- true":                 plain,
		"understudy replay -f tape -- true":                 asks,
		"understudy proxy --rules=r.yaml -- true":           asks,
		"understudy proxy --link delay=1ms -- true":         nil,
		"understudy proxy --link-engine=tun -- true":        nil,
		"understudy proxy --rules r.yaml --verify -- true":  nil,
		"understudy replay --set link.down=loss=1 -- true":  nil,
		"understudy replay --down loss=1 --up x -- true":    nil,
		"understudy proxy --up loss=1% --rules r -- ./true": nil,
	} {
		got := guessOrder(strings.Fields(line), []string{"HOME=/", "UNDERSTUDY=1"})
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("guessOrder(%s) = %+v, want %+v", line, got, want)
		}
	}
	if got := guessOrder([]string{"understudy", "proxy", "--", "true"}, []string{"UNDERSTUDY_LINK=delay=1ms"}); got != nil {
		t.Errorf("guessOrder with a setting in the environment = %+v, want none", got)
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
