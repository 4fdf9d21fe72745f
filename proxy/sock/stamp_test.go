package sock

import (
	"crypto/tls"
	"io"
	"testing"
	"time"
)

// What the kernel notes lies between the sending and the reading, and what it
// does not note is read now.
func TestArrived(t *testing.T) {
	c, peer := pair(t)
	p := make([]byte, 16)
	notes := 0
	// The kernel begins to note some time after it was asked, in a work queue of its
	// own: on a busy machine after thousands of reads. Source: net_enable_timestamp in
	// net/core/dev.c.
	for i := 0; i < 500_000 && notes < 3; i++ {
		before := time.Now()
		if _, err := io.WriteString(peer, "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, p[:5]); err != nil || string(p[:5]) != "hello" {
			t.Fatalf("read %q, %v, want hello", p[:5], err)
		}
		read := time.Now()
		switch at := c.Arrived(); {
		case at.Before(before):
			t.Errorf("read %d: arrived %v before it was sent", i, before.Sub(at))
		case noted(c) && at.After(read):
			t.Errorf("read %d: arrived %v after it was read", i, at.Sub(read))
		case noted(c):
			notes++
		}
		c.Stamp() // from the second on
	}
	if canNote && notes == 0 {
		t.Error("the kernel noted nothing")
	}
	_ = peer.CloseWrite()
	if n, err := c.Read(p); n != 0 || err != io.EOF {
		t.Errorf("Read at the end = %d, %v, want EOF", n, err)
	}
}

func TestOf(t *testing.T) {
	c, peer := pair(t)
	if got := Of(tls.Server(c, &tls.Config{})); got != c {
		t.Errorf("Of(TLS over it) = %p, want %p", got, c)
	}
	if Of(peer) != nil || Of(nil) != nil {
		t.Error("Of found a Conn where there is none")
	}
}
