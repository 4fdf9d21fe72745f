package sock

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns the two ends of a TCP connection, the first of them wrapped.
func pair(t testing.TB) (*Conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return Wrap(a).(*Conn), b.(*net.TCPConn)
}

// Far more than the socket's buffers hold arrives whole, in order, whichever
// way it is written.
func TestBytes(t *testing.T) {
	want := make([]byte, 8<<20)
	for i := range want {
		want[i] = byte(i * i >> 7)
	}
	for name, write := range map[string]func(c *Conn, p []byte) error{
		"Write": func(c *Conn, p []byte) error {
			_, err := c.Write(p)
			return err
		},
		"WriteVec": func(c *Conn, p []byte) error {
			const cut = 1 << 20
			return c.WriteVec([][]byte{p[:1], nil, p[1:cut], p[cut : 2*cut], p[2*cut : 3*cut], p[3*cut:]})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, peer := pair(t)
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := write(c, want); err != nil {
					t.Error(err)
				}
				_ = c.CloseWrite()
			})
			got, err := io.ReadAll(peer)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v; want the %d that were sent", len(got), err, len(want))
			}
			wg.Wait()
		})
	}
}

func TestRead(t *testing.T) {
	c, peer := pair(t)
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Errorf("Read(nil) = %d, %v, want nothing at once", n, err)
	}
	go func() { // ends with its writes
		_, _ = io.WriteString(peer, "hello")
		_ = peer.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if string(got) != "hello" || err != nil {
		t.Errorf("read %q, %v, want hello", got, err)
	}
}

// room lends itself.
type room []byte

func (r room) Take() []byte { return r }
func (r room) Drop()        {}

// lender counts what it lends.
type lender struct {
	room
	lent atomic.Int32
}

func (l *lender) Take() []byte { l.lent.Add(1); return l.room }
func (l *lender) Drop()        { l.lent.Add(-1) }

// What ReadInto gives is in memory that is lent for it, and taken back where
// nothing came.
func TestReadInto(t *testing.T) {
	c, peer := pair(t)
	l := &lender{room: make(room, 16)}
	read := func(want string, wantErr error) {
		t.Helper()
		n, err := c.ReadInto(l)
		if string(l.room[:n]) != want || !errors.Is(err, wantErr) {
			t.Fatalf("ReadInto = %q, %v; want %q, %v", l.room[:n], err, want, wantErr)
		}
		if lent := l.lent.Swap(0); lent != int32(min(n, 1)) {
			t.Fatalf("%d are lent after %q", lent, want)
		}
	}
	_, _ = io.WriteString(peer, "there")
	read("there", nil)
	go func() { // ends with its writes
		_ = c.SetReadDeadline(time.Now())
	}()
	read("", os.ErrDeadlineExceeded)
	_ = c.SetReadDeadline(time.Time{})
	go func() { // ends with its writes
		_, _ = io.WriteString(peer, "later")
		_ = peer.CloseWrite()
	}()
	read("later", nil)
	read("", io.EOF)
	_ = c.Close()
	read("", net.ErrClosed)
}

// An answer is read once the question is out, however long the question is; one
// that never comes ends with the connection; a question that cannot be put is
// told apart from an answer that is there all the same.
func TestReadAfter(t *testing.T) {
	for _, size := range []int{1, 16 << 20} {
		c, peer := pair(t)
		go func() { // ends with the question
			_, _ = io.CopyN(io.Discard, peer, int64(size))
			_, _ = io.WriteString(peer, "answer")
		}()
		p := make([]byte, 16)
		for range 2 {
			n, sent, err := c.ReadAfter(make([]byte, size), room(p))
			if string(p[:n]) != "answer" || err != nil || sent.Err != nil || sent.At.IsZero() {
				t.Fatalf("of %d bytes: %q, %+v, %v", size, p[:n], sent, err)
			}
			go func() { // as above
				_, _ = io.CopyN(io.Discard, peer, int64(size))
				_, _ = io.WriteString(peer, "answer")
			}()
		}
		_ = c.CloseWrite()
		_ = peer.Close()
	}
	t.Run("closed", func(t *testing.T) {
		c, peer := pair(t)
		go func() { // ends with the question
			_, _ = io.ReadFull(peer, make([]byte, 1))
			_ = c.Close()
		}()
		_, sent, err := c.ReadAfter([]byte("x"), make(room, 1))
		check(t, err, "read", net.ErrClosed)
		if sent.Err != nil {
			t.Errorf("the write failed: %v", sent.Err)
		}
	})
	t.Run("ended before", func(t *testing.T) {
		c, peer := pair(t)
		_ = peer.CloseWrite()
		pass, echo := pair(t) // what it brings comes after the end, to who waits for both
		_, _ = io.WriteString(echo, "x")
		_, _ = pass.Read(make([]byte, 1))
		over := make(chan error)
		go func() { // ends with the question
			_, _, err := c.ReadAfter([]byte("x"), make(room, 1))
			over <- err
		}()
		for {
			select {
			case err := <-over:
				if err != io.EOF {
					t.Errorf("%v, want EOF", err)
				}
				return
			default:
				c.Rouse()
				runtime.Gosched()
			}
		}
	})
	t.Run("answered before", func(t *testing.T) {
		c, peer := pair(t)
		_, _ = io.WriteString(peer, "early")
		_ = peer.CloseWrite()
		_ = c.CloseWrite()
		p := make([]byte, 16)
		n, sent, err := c.ReadAfter([]byte("x"), room(p))
		if string(p[:n]) != "early" || err != nil || !errors.Is(sent.Err, syscall.EPIPE) {
			t.Errorf("%q, %+v, %v; want the early answer and EPIPE", p[:n], sent, err)
		}
	})
}

// Errors are those of the net package: what callers ask of them holds.
func TestErrors(t *testing.T) {
	t.Run("deadline", func(t *testing.T) {
		c, _ := pair(t)
		_ = c.SetReadDeadline(time.Unix(1, 0))
		_, err := c.Read(make([]byte, 1))
		check(t, err, "read", os.ErrDeadlineExceeded)
		if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
			t.Errorf("%v is no timeout", err)
		}
	})
	t.Run("deadline while waiting", func(t *testing.T) {
		c, _ := pair(t)
		done := make(chan error)
		go func() { // ends with the deadline
			_, err := c.Read(make([]byte, 1))
			done <- err
		}()
		_ = c.SetReadDeadline(time.Now())
		check(t, <-done, "read", os.ErrDeadlineExceeded)
	})
	t.Run("closed", func(t *testing.T) {
		c, _ := pair(t)
		_ = c.Close()
		_, err := c.Read(make([]byte, 1))
		check(t, err, "read", net.ErrClosed)
		_, err = c.Write([]byte("x"))
		check(t, err, "write", net.ErrClosed)
		check(t, c.WriteVec([][]byte{[]byte("x")}), "", net.ErrClosed)
	})
	t.Run("closed while writing", func(t *testing.T) {
		c, _ := pair(t)
		done := make(chan error)
		go func() { // ends with the close
			var err error
			for err == nil {
				_, err = c.Write(make([]byte, 1<<20))
			}
			done <- err
		}()
		_ = c.Close()
		check(t, <-done, "write", net.ErrClosed)
	})
	t.Run("reset", func(t *testing.T) {
		c, peer := pair(t)
		_ = peer.SetLinger(0)
		_ = peer.Close()
		_, err := c.Read(make([]byte, 1))
		check(t, err, "read", syscall.ECONNRESET)
		_, err = c.Write([]byte("x"))
		check(t, err, "write", syscall.EPIPE)
	})
}

func check(t *testing.T, err error, op string, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
	if oe, ok := errors.AsType[*net.OpError](err); op != "" && (!ok || oe.Op != op) {
		t.Errorf("error %#v, want operation %s", err, op)
	}
}

// What is no TCP connection stays as it is.
func TestOthers(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if Wrap(a) != a {
		t.Error("a pipe was wrapped")
	}
	c, _ := pair(t)
	if Wrap(c) != net.Conn(c) {
		t.Error("a *Conn was wrapped again")
	}
}

// One side's calls from many goroutines do not mix.
func TestWriters(t *testing.T) {
	c, peer := pair(t)
	const writers, times = 8, 200
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for range times {
				if _, err := c.Write(bytes.Repeat([]byte{byte('a' + i)}, 64)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	got := make([]byte, writers*times*64)
	if _, err := io.ReadFull(peer, got); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for i := 0; i < len(got); i += 64 {
		if !bytes.Equal(got[i:i+64], bytes.Repeat(got[i:i+1], 64)) {
			t.Fatalf("writes are mixed: %q", got[i:i+64])
		}
	}
}

func BenchmarkPingPong(b *testing.B) {
	c, peer := pair(b)
	for name, nc := range map[string]net.Conn{"net": c.TCPConn, "raw": c} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			p, q := make([]byte, 1024), make([]byte, 1024)
			for b.Loop() {
				if _, err := nc.Write(p); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(peer, q); err != nil {
					b.Fatal(err)
				}
				if _, err := peer.Write(q[:1]); err != nil {
					b.Fatal(err)
				}
				if _, err := nc.Read(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
