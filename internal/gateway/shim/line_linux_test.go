package shim

import (
	"runtime"
	"syscall"
	"testing"
)

// Who ends while a message is on its way to him breaks the line: what he had said before
// is heard all the same. A shim ends by itself just when a signal for its command comes.
func TestLastWordsAreHeard(t *testing.T) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	parent, shim := NewLine(pair[0]), NewLine(pair[1])
	defer parent.Close()
	if err := shim.Send(Note{Kind: SaysEnded, Number: 3 << 8}); err != nil {
		t.Fatal(err)
	}
	if err := parent.Send(Note{Kind: TellsSignal, Number: int(syscall.SIGTERM)}); err != nil {
		t.Fatal(err)
	}
	shim.Close() // with the signal unread
	if n, _, err := parent.Receive(); err != nil || n.Kind != SaysEnded || n.Number != 3<<8 {
		t.Errorf("Receive() = %+v, %v, want the command's end", n, err)
	}
	if n, _, err := parent.Receive(); err != ErrGone {
		t.Errorf("Receive() = %+v, %v, want %v", n, err, ErrGone)
	}
}

// A line that carries many messages makes little garbage: nobody collects a shim's for long.
func TestLineUsesItsRoomAgain(t *testing.T) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	parent, shim := NewLine(pair[0]), NewLine(pair[1])
	defer parent.Close()
	defer shim.Close()
	const messages = 1000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range messages {
		if err := parent.Send(Note{Kind: TellsSocket, Number: syscall.AF_INET}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := shim.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / messages; each > 2<<10 {
		t.Errorf("%d bytes for each message, want some hundreds", each)
	}
}
