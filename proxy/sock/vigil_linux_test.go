//go:build linux

package sock

import (
	"testing"
)

// Each end is told once, of whichever connections are waited for, and nobody's who
// was forgotten.
func TestWhenEnded(t *testing.T) {
	const n = 2*lookAt + 5
	told := make(chan int, 2*n)
	var conns [n]*Conn
	var ends [n]func()
	for i := range conns {
		c, peer := pair(t)
		conns[i] = c
		switch i % 4 {
		case 0:
			ends[i] = func() { _ = peer.Close() }
		case 1:
			ends[i] = func() { _ = peer.CloseWrite() }
		case 2: // stays
			c.WhenEnded(func() { told <- i })
			continue
		case 3:
			ends[i] = func() { _ = c.Close() }
		}
		c.WhenEnded(func() { told <- i })
	}
	waited := map[int]bool{}
	for i, c := range conns {
		switch {
		case i%8 == 4:
			c.Forget()
			c.Forget()
		case ends[i] != nil:
			waited[i] = true
		}
	}
	for _, end := range ends {
		if end != nil {
			end()
		}
	}
	for len(waited) > 0 {
		i := <-told
		if !waited[i] {
			t.Errorf("told of %d, which was forgotten, stays, or was told before", i)
		}
		delete(waited, i)
	}
	c, _ := pair(t)
	_ = c.Close()
	c.WhenEnded(func() { told <- n }) // was closed before
	if i := <-told; i != n {
		t.Errorf("told of %d once more", i)
	}
	for _, c := range conns {
		c.Forget()
	}
	if left := len(theVigil.kept); left > 0 {
		t.Errorf("%d are kept still", left)
	}
}
