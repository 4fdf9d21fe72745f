package sock

import (
	"testing"
	"time"
)

// What the other side's kernel has taken is not waited for, though its program reads
// nothing; nor is what it has no room for, once it said so.
func TestWaiting(t *testing.T) {
	c, _ := pair(t)
	if waiting, _ := c.Waiting(); waiting {
		t.Error("a new connection waits for something")
	}
	_, _ = c.Write([]byte("x"))
	settled := func() bool {
		for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
			if waiting, _ := c.Waiting(); !waiting {
				return true
			}
		}
		return false
	}
	if !settled() {
		t.Error("a byte was not acknowledged")
	}
	time.Sleep(30 * time.Millisecond)
	if _, heard := c.Waiting(); heard < 20*time.Millisecond {
		t.Errorf("heard of the other side %v ago, want 30ms or more", heard)
	}
	_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	for {
		if _, err := c.Write(make([]byte, 1<<20)); err != nil {
			break // it has no room
		}
	}
	if !settled() {
		t.Error("what the other side has no room for is waited for")
	}
	_ = c.Close()
	if waiting, _ := c.Waiting(); waiting {
		t.Error("a closed connection waits for something")
	}
}
