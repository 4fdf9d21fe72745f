//go:build linux && !race

package sock

import (
	"errors"
	"io"
	"net"
	"testing"
)

// What comes while it is used is not missed, nor is the end that came with it; a
// Close meanwhile ends both sides' use of the connection.
func TestEach(t *testing.T) {
	c, peer := pair(t)
	if !c.Steady() {
		t.Skip("the kernel does not tell what is left to be read")
	}
	_, _ = io.WriteString(peer, "a")
	uses := 0
	err := c.Each(make(room, 16), func(n int) bool {
		switch uses++; uses {
		case 1: // answered by the next, which is there before this returns
			_, _ = io.WriteString(peer, "b")
		case 2:
			_, _ = io.WriteString(peer, "c")
			_ = peer.CloseWrite()
		}
		return n == 1
	})
	if uses != 3 || err != io.EOF {
		t.Errorf("%d uses, %v; want 3, and the end", uses, err)
	}
}

func TestEachClosed(t *testing.T) {
	c, peer := pair(t)
	if !c.Steady() {
		t.Skip("the kernel does not tell what is left to be read")
	}
	_, _ = io.WriteString(peer, "a")
	err := c.Each(make(room, 16), func(int) bool {
		_ = c.Close()
		if _, err := c.Write([]byte("x")); err == nil {
			t.Error("a write succeeded after Close")
		}
		return true
	})
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("Each = %v, want net.ErrClosed", err)
	}
	if n, err := peer.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the other side read %d, %v, want EOF", n, err)
	}
}
