package dial

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestDeadAddress is TestFirstThatConnects with sockets: the backlog of a listener on the
// first address is full, so that the kernel drops what would be one more connection.
func TestDeadAddress(t *testing.T) {
	alive, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	port := alive.Addr().(*net.TCPAddr).Port
	deaf(t, [4]byte{127, 0, 0, 2}, port)

	var begun atomic.Int64
	d := &Dialer{One: func(ctx context.Context, network, addr string) (net.Conn, error) {
		begun.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}, Lookup: func(context.Context, string) ([]net.IPAddr, error) {
		return []net.IPAddr{{IP: net.IPv4(127, 0, 0, 2)}, {IP: net.IPv4(127, 0, 0, 1)}}, nil
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i, want := range []int64{2, 1, 1} {
		begun.Store(0)
		start := time.Now()
		nc, err := d.DialContext(ctx, "tcp", net.JoinHostPort("shop.test", strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		t.Logf("connection %d to %s after %v", i, nc.RemoteAddr(), took)
		if nc.RemoteAddr().String() != alive.Addr().String() || begun.Load() != want || i == 0 && took < stagger {
			t.Errorf("connection %d went to %s after %v, %d addresses tried; want %s, %d tried", i, nc.RemoteAddr(), took, begun.Load(), alive.Addr(), want)
		}
		_ = nc.Close()
	}
}

// deaf has connections to an address hang.
func deaf(t *testing.T, ip [4]byte, port int) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: ip, Port: port}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	addr := &net.TCPAddr{IP: ip[:], Port: port}
	for range 4 {
		nc, err := net.DialTimeout("tcp", addr.String(), 100*time.Millisecond)
		if late, ok := err.(net.Error); ok && late.Timeout() {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
	}
	t.Skip("SKIPPED: a listener with a full backlog accepts on")
}
