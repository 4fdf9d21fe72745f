package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/understudy-proxy/understudy/proxy/sock"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// unread returns once what came in on c and was not read is as much as is asked for, and
// when that was seen.
func unread(t *testing.T, c *sock.Conn, enough func(n int32) bool) time.Time {
	raw, err := c.SyscallConn()
	if err != nil {
		t.Error(err)
		return time.Time{}
	}
	for n := int32(-1); n < 0 || !enough(n); runtime.Gosched() {
		if raw.Control(func(fd uintptr) {
			_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
		}) != nil {
			break // the test is over
		}
	}
	return time.Now()
}

// Where the kernel notes when bytes come in, a request counts from its first: also where
// they came while the one before was served and looked after, and the rest later.
func TestRequestCountsFromItsComing(t *testing.T) {
	for name, part := range map[string]int{"whole": len(get), "in parts": 9} {
		t.Run(name, func(t *testing.T) {
			begun, until, end, at := make(chan struct{}), make(chan time.Time), make(chan struct{}), make(chan time.Time)
			var c *sock.Conn
			second := false
			s := &Server{Handler: wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, r *wire.Request) {
				if second {
					at <- r.At
				} else {
					c = w.(*response).c.sock
					c.Stamp()
					lookOut(w)
					begun <- struct{}{}
					until <- unread(t, c, func(n int32) bool { return n >= int32(part) })
					<-end
				}
				second = !second
				_ = w.WriteHead(&wire.Head{Status: 204})
				_ = w.Finish(nil)
			})}
			nc, err := net.Dial("tcp", listen(t, s))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			br := bufio.NewReader(nc)
			// The kernel begins to note some time after it was asked: once it has, all count.
			const most, enough = 100_000, 20
			for i, good := 0, 0; good < enough; i++ {
				_, _ = io.WriteString(nc, get)
				<-begun
				_, _ = io.WriteString(nc, get[:part])
				came := <-until
				end <- struct{}{}
				readResponse(t, br, "GET")
				if part < len(get) {
					unread(t, c, func(n int32) bool { return n == 0 }) // a read tells when the last of it came
					_, _ = io.WriteString(nc, get[part:])
				}
				if got := <-at; !got.After(came) {
					good++
				} else if good > 0 || i == most {
					t.Fatalf("request %d, %d of them noted, counts from %v after it had come", i, good, got.Sub(came))
				}
				readResponse(t, br, "GET")
			}
		})
	}
}

// The same on a socket, within a read of which requests are served.
func TestDrainWithinAHeadOnASocket(t *testing.T) {
	for name, before := range map[string]string{"first": get[:5], "second": get + get[:5]} {
		t.Run(name, func(t *testing.T) {
			nc, far := pair(t)
			conn := sock.Wrap(far).(*sock.Conn)
			ctx, drain := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				ended <- (&Server{Handler: wire.HandlerFunc(echo)}).ServeConn(ctx, conn, &wire.Conn{})
			}()
			_, _ = io.WriteString(nc, before)
			br := bufio.NewReader(nc)
			if name == "second" {
				readResponse(t, br, "GET")
			}
			unread(t, conn, func(n int32) bool { return n == 0 }) // what came is read, or about to be
			drain()
			_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
			if resp, err := http.ReadResponse(br, nil); err == nil && resp.StatusCode != 408 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("answer %v, %v; want 408", resp, err)
			}
			_ = nc.Close()
			<-ended
		})
	}
}
