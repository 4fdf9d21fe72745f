//go:build linux

package sock

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
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

// Stamps asked for within a use are told with what comes next, and what is left is told
// as before.
func TestEachStamped(t *testing.T) {
	c, peer := pair(t)
	if !c.Steady() {
		t.Skip("the kernel does not tell what is left to be read")
	}
	var sent time.Time
	send := func() {
		sent = time.Now()
		_, _ = io.WriteString(peer, "a")
	}
	uses, notes := 0, 0
	send()
	err := c.Each(make(room, 16), func(n int) bool {
		at, now := c.Arrived(), time.Now()
		if n != 1 || at.Before(sent) || at.After(now) {
			t.Errorf("use %d: %d bytes, arrived %v after they were sent, %v before now, want 1, between the two", uses, n, at.Sub(sent), now.Sub(at))
		}
		if uses++; noted(c) {
			notes++
		}
		if left := c.notes.left; left != 0 {
			t.Errorf("use %d: %d left, want 0", uses, left)
		}
		c.Stamp()
		// The kernel begins some time after it was asked: see TestArrived.
		if uses == 500_000 || notes == 3 {
			_ = peer.CloseWrite()
		} else {
			send()
		}
		return true
	})
	if err != io.EOF || notes < 3 || !c.Steady() {
		t.Errorf("Each = %v after %d uses, %d of them noted; steady %v; want the end, 3, true", err, uses, notes, c.Steady())
	}
}

// What is written within a use arrives whole, however much the kernel takes at once, and
// fails once the connection was closed.
func TestWriteWithin(t *testing.T) {
	c, peer := pair(t)
	if !c.Steady() {
		t.Skip("the kernel does not tell what is left to be read")
	}
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // more than a socket holds
	got := make(chan []byte)
	go func() { // ends with the connection
		b, _ := io.ReadAll(peer)
		got <- b
	}()
	_, _ = io.WriteString(peer, "a")
	err := c.Each(make(room, 16), func(int) bool {
		if n, err := c.WriteWithin(want[:3]); n != 3 || err != nil {
			t.Errorf("WriteWithin = %d, %v, want 3", n, err)
		}
		if n, err := c.WriteWithin(want[3:]); n != len(want)-3 || err != nil {
			t.Errorf("WriteWithin = %d, %v, want %d", n, err, len(want)-3)
		}
		_ = c.Close()
		if _, err := c.WriteWithin([]byte("x")); err == nil {
			t.Error("a write succeeded after Close")
		}
		return false
	})
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("Each = %v, want net.ErrClosed", err)
	}
	if b := <-got; !bytes.Equal(b, want) {
		t.Errorf("%d bytes arrived, want the %d that were written", len(b), len(want))
	}
}

// A Close or Reset while what came is used is seen by the other side at once, not when
// the use has ended; whoever closes does not wait, and sets no store by deadlines.
func TestEachEnds(t *testing.T) {
	for name, end := range map[string]struct {
		end  func(c *Conn)
		want error
	}{
		"close": {func(c *Conn) { _ = c.Close() }, io.EOF},
		"reset": {(*Conn).Reset, syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			c, peer := pair(t)
			if !c.Steady() {
				t.Skip("the kernel does not tell what is left to be read")
			}
			_, _ = io.WriteString(peer, "a")
			uses := 0
			err := c.Each(make(room, 16), func(int) bool {
				uses++
				_, _ = io.WriteString(peer, "b") // not to be used any more
				if end.end(c); !c.Ended() {
					t.Error("it has not ended")
				}
				_ = c.SetDeadline(time.Time{})
				if _, err := c.Write([]byte("x")); err == nil {
					t.Error("a write succeeded")
				}
				if n, err := peer.Read(make([]byte, 1)); n != 0 || !errors.Is(err, end.want) {
					t.Errorf("the other side read %d, %v, want %v", n, err, end.want)
				}
				return true
			})
			if uses != 1 || !errors.Is(err, net.ErrClosed) {
				t.Errorf("%d uses, %v; want 1, and net.ErrClosed", uses, err)
			}
		})
	}
}

// A Close or Reset wakes Each where it waits, and a write that waits for the other side.
func TestEachWoken(t *testing.T) {
	wait := func(*Conn) bool { return true }
	write := func(c *Conn) bool { _, err := c.Write(make([]byte, 16<<20)); return err == nil }
	for i, use := range []func(c *Conn) bool{wait, wait, write, write} {
		c, peer := pair(t)
		if !c.Steady() {
			t.Skip("the kernel does not tell what is left to be read")
		}
		_, _ = io.WriteString(peer, "a")
		begun, ended := make(chan struct{}), make(chan error)
		go func() { // ends with the connection
			ended <- c.Each(make(room, 16), func(int) bool { close(begun); return use(c) })
		}()
		<-begun
		if i%2 == 0 {
			_ = c.Close()
		} else {
			c.Reset()
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Each = %v, want net.ErrClosed", err)
		}
	}
}

// Who half-closes has not lost the other side; who is half-closed has, before all
// that came is read.
func TestEnded(t *testing.T) {
	c, peer := pair(t)
	_, _ = io.WriteString(peer, "unread")
	_ = c.CloseWrite()
	if c.Ended() {
		t.Error("it has ended, for a half-close of this side")
	}
	_ = peer.CloseWrite()
	if !c.Ended() {
		t.Error("it has not ended, though the other side's stream has")
	}
	_ = c.Close()
	if !c.Ended() {
		t.Error("it has not ended, though it is closed")
	}
}

func TestSince51(t *testing.T) {
	for release, want := range map[string]bool{
		"6.1.0-13-amd64\x00\x00": true, "5.10.0": true, "5.1.0": true, "5.0.21-generic": false,
		"4.19.0": false, "4.4.0": false, "": false, "next": false,
	} {
		if got := since51(release); got != want {
			t.Errorf("since51(%q) = %v, want %v", release, got, want)
		}
	}
}
