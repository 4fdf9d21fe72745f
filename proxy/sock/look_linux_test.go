package sock

import (
	"io"
	"testing"
)

// What has come is told until it is read; the stream's end is, too, and a closed connection.
func TestQuiet(t *testing.T) {
	c, peer := pair(t)
	if !c.Quiet() {
		t.Error("it is not quiet, though nothing came")
	}
	_, _ = io.WriteString(peer, "x")
	for range 2 { // a look takes nothing
		if c.Quiet() {
			t.Error("it is quiet, though a byte is to be read")
		}
	}
	if n, err := c.Read(make([]byte, 8)); n != 1 || err != nil {
		t.Errorf("Read = %d, %v, want the byte", n, err)
	}
	if !c.Quiet() {
		t.Error("it is not quiet, though all was read")
	}
	_ = peer.CloseWrite()
	if c.Quiet() {
		t.Error("it is quiet, though the stream has ended")
	}
	if n := testing.AllocsPerRun(100, func() { c.Quiet() }); n > 0 {
		t.Errorf("a look allocates %.0f times", n)
	}
	_ = c.Close()
	if c.Quiet() {
		t.Error("it is quiet, though it is closed")
	}
}
