package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-proxy/understudy/proxy/wire"
)

// piped serves s on one end of a pipe; what ServeConn returns comes on ended.
func piped(ctx context.Context, s *Server) (nc net.Conn, ended chan error) {
	near, far := net.Pipe()
	ended = make(chan error, 1)
	go func() { ended <- s.ServeConn(ctx, far, &wire.Conn{}) }()
	return near, ended
}

func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Handler: answer(wire.Head{Status: 200}), IdleTimeout: 10 * time.Second, HeadTimeout: time.Second}
		nc, ended := piped(t.Context(), s)
		defer nc.Close()
		br := bufio.NewReader(nc)
		for range 3 {
			time.Sleep(9 * time.Second) // the bubble's clock
			_, _ = io.WriteString(nc, get)
			readResponse(t, br, "GET")
		}
		start := time.Now()
		if err := <-ended; err != nil {
			t.Errorf("ServeConn = %v, want nil", err)
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("closed after %v idle, want 10s", d)
		}
	})
}

func TestHeadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Handler: answer(wire.Head{Status: 200}), HeadTimeout: 2 * time.Second, IdleTimeout: time.Minute}
		nc, ended := piped(t.Context(), s)
		defer nc.Close()
		time.Sleep(time.Second)
		_, _ = io.WriteString(nc, "GET / HT")
		start := time.Now()
		resp, _ := readResponse(t, bufio.NewReader(nc), "GET")
		if d := time.Since(start); resp.StatusCode != 408 || d != 2*time.Second {
			t.Errorf("status %d after %v, want 408 after 2s", resp.StatusCode, d)
		}
		var bad *BadRequestError
		if err := <-ended; !errors.As(err, &bad) {
			t.Errorf("ServeConn = %v, want a BadRequestError", err)
		}
	})
}

// A request that is served for longer than any timeout is not cut.
func TestTimeoutsSpareHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{IdleTimeout: time.Second, HeadTimeout: time.Second}
		s.Handler = wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
			w.Watch()
			select {
			case <-ctx.Done():
				t.Error("the client is said to be gone")
			case <-time.After(time.Minute):
			}
			echo(ctx, w, r)
		})
		nc, ended := piped(t.Context(), s)
		_, _ = io.WriteString(nc, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na")
		go func() {
			time.Sleep(2 * time.Minute)
			_, _ = io.WriteString(nc, "bc")
		}()
		if _, body := readResponse(t, bufio.NewReader(nc), "POST"); body != "abc" {
			t.Errorf("body = %q, want abc", body)
		}
		_ = nc.Close()
		<-ended
	})
}

func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{}
		var after time.Duration
		s.Handler = wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
			start := time.Now()
			w.Watch()
			<-ctx.Done()
			after = time.Since(start)
			_ = w.WriteHead(&wire.Head{Status: 200})
			if err := w.Finish(nil); err == nil {
				t.Error("Finish after the client left gave no error")
			}
			w.Watch() // and nothing comes of it
		})
		nc, ended := piped(t.Context(), s)
		_, _ = io.WriteString(nc, get)
		time.Sleep(5 * time.Second)
		_ = nc.Close()
		<-ended
		if after != 5*time.Second {
			t.Errorf("noticed after %v, want 5s", after)
		}
	})
}

// The look-out must not lose what the client pipelines meanwhile.
func TestGoneKeepsPipelinedBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
			w.Watch()
			select {
			case <-ctx.Done():
				t.Error("gone while the client waits")
			case <-time.After(time.Second):
			}
			_ = w.WriteHead(&wire.Head{Status: 200, Length: int64(len(r.Target))})
			_, _ = io.WriteString(w, r.Target)
			_ = w.Finish(nil)
		})}
		nc, ended := piped(t.Context(), s)
		br := bufio.NewReader(nc)
		_, _ = io.WriteString(nc, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
		time.Sleep(20 * time.Millisecond)
		for _, part := range []string{"G", "ET /2 HTT", "P/1.1\r\nHost: a\r\n\r\n"} {
			_, _ = io.WriteString(nc, part)
			synctest.Wait()
		}
		for _, want := range []string{"/1", "/2"} {
			if _, got := readResponse(t, br, "GET"); got != want {
				t.Errorf("answer = %q, want %q", got, want)
			}
		}
		_ = nc.Close()
		if err := <-ended; err != nil {
			t.Errorf("ServeConn = %v", err)
		}
	})
}

// A connection taken over after a look-out reads on where the request ended.
func TestHijackAfterGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Handler: wire.HandlerFunc(func(_ context.Context, w wire.ResponseWriter, r *wire.Request) {
			w.Watch()
			time.Sleep(time.Second)
			nc, err := w.Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			w.Watch()
			time.Sleep(time.Second)
			p := make([]byte, 10)
			n, err := io.ReadFull(nc, p)
			if string(p[:n]) != "first last" || err != nil {
				t.Errorf("read %q, %v", p[:n], err)
			}
		})}
		nc, ended := piped(t.Context(), s)
		_, _ = io.WriteString(nc, "CONNECT a:1 HTTP/1.1\r\n\r\n")
		time.Sleep(100 * time.Millisecond)
		_, _ = io.WriteString(nc, "first ")
		time.Sleep(3 * time.Second)
		_, _ = io.WriteString(nc, "last")
		if err := <-ended; err != ErrHijacked {
			t.Errorf("ServeConn = %v, want ErrHijacked", err)
		}
		_ = nc.Close()
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, drain := context.WithCancel(t.Context())
		s := &Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
			time.Sleep(10 * time.Second)
			if ctx.Err() != nil {
				t.Error("draining ended a request's context")
			}
			_ = w.WriteHead(&wire.Head{Status: 200})
			_ = w.Finish(nil)
		})}
		idle, idleEnded := piped(ctx, s)
		busy, busyEnded := piped(ctx, s)
		part, partEnded := piped(ctx, s)
		defer idle.Close()
		defer busy.Close()
		defer part.Close()
		_, _ = io.WriteString(busy, get)
		_, _ = io.WriteString(part, get[:5])
		synctest.Wait()
		start := time.Now()
		drain()
		if err := <-idleEnded; err != nil || time.Since(start) != 0 {
			t.Errorf("idle connection ended with %v after %v, want nil at once", err, time.Since(start))
		}
		go func() { _, _ = io.WriteString(part, get[5:]) }()
		for _, nc := range []net.Conn{busy, part} {
			resp, _ := readResponse(t, bufio.NewReader(nc), "GET")
			if resp.StatusCode != 200 || !resp.Close {
				t.Errorf("answer %d, close %v; want 200 and close", resp.StatusCode, resp.Close)
			}
		}
		<-busyEnded
		<-partEnded
	})
}

// A request that comes behind the last one is not answered, and its client learns that at once.
func TestDrainBeforeTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, drain := context.WithCancel(t.Context())
		reply := answer(wire.Head{Status: 200})
		nc, ended := piped(ctx, &Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
			reply.ServeWire(ctx, w, r) // keeps the connection
			drain()
			time.Sleep(time.Millisecond)
		})})
		defer nc.Close()
		_, _ = io.WriteString(nc, get+get)
		br := bufio.NewReader(nc)
		start := time.Now()
		readResponse(t, br, "GET")
		if _, err := br.ReadByte(); err == nil || time.Since(start) != time.Millisecond {
			t.Errorf("the connection ended with %v after %v, want it to end after 1ms", err, time.Since(start))
		}
		_ = nc.Close()
		<-ended
	})
}

// A head that has not come whole is no request under way: at a drain its rest has a moment
// to come, and no more than that.
func TestDrainWithinAHead(t *testing.T) {
	const post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
	for _, test := range []struct {
		name   string
		before string // the drain
		after  []string
		apart  time.Duration // what comes after the drain
		status int
		took   time.Duration
	}{
		{"never comes whole", get[:5], nil, 0, 408, 500 * time.Millisecond},
		{"an empty line and no more", "\r\n", nil, 0, 408, 500 * time.Millisecond},
		{"drips", get[:5], strings.SplitAfter(get[5:], ""), 100 * time.Millisecond, 408, 500 * time.Millisecond},
		{"comes whole", get[:5], []string{get[5:]}, 400 * time.Millisecond, 200, 400 * time.Millisecond},
		{"comes in three", get[:5], []string{get[5:10], get[10:]}, 200 * time.Millisecond, 200, 400 * time.Millisecond},
		{"a body may take its time", post[:5], []string{post[5:], "b", "o", "d", "y"}, 400 * time.Millisecond, 200, 2 * time.Second},
		{"a body does, too", post, []string{"b", "o", "d", "y"}, time.Second, 200, 4 * time.Second},
		{"the last of many", get + get[:5], nil, 0, 408, 500 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, drain := context.WithCancel(t.Context())
				nc, ended := piped(ctx, &Server{Handler: wire.HandlerFunc(echo), HeadTimeout: time.Minute})
				defer nc.Close()
				_, _ = io.WriteString(nc, test.before)
				br := bufio.NewReader(nc)
				if strings.HasPrefix(test.before, get) {
					readResponse(t, br, "GET")
				}
				synctest.Wait()
				start := time.Now()
				drain()
				var writes sync.WaitGroup
				defer writes.Wait()
				writes.Go(func() {
					for _, s := range test.after {
						time.Sleep(test.apart)
						_, _ = io.WriteString(nc, s)
					}
				})
				resp, _ := readResponse(t, br, "POST")
				if took := time.Since(start); resp.StatusCode != test.status || !resp.Close || took != test.took {
					t.Errorf("answer %d, close %v, after %v; want %d and close after %v", resp.StatusCode, resp.Close, took, test.status, test.took)
				}
				_ = nc.Close()
				<-ended
			})
		})
	}
}

func TestAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
			<-ctx.Done()
		})}
		nc, ended := piped(t.Context(), s)
		defer nc.Close()
		_, _ = io.WriteString(nc, get)
		synctest.Wait()
		s.Abort()
		<-ended
		_, late := piped(t.Context(), s)
		if err := <-late; !errors.Is(err, net.ErrClosed) {
			t.Errorf("ServeConn after Abort = %v", err)
		}
	})
}

func TestExpectOnTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Handler: wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
			time.Sleep(time.Second)
			echo(ctx, w, r)
		})}
		nc, ended := piped(t.Context(), s)
		br := bufio.NewReader(nc)
		for range 2 {
			start := time.Now()
			_, _ = io.WriteString(nc, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
			if head := readHeadText(br); head != "HTTP/1.1 100 Continue\r\n\r\n" || time.Since(start) != time.Second {
				t.Errorf("after %v: %q, want 100 at the first read, after 1s", time.Since(start), head)
			}
			_, _ = io.WriteString(nc, "ok")
			if _, body := readResponse(t, br, "POST"); body != "ok" {
				t.Errorf("body = %q, want ok", body)
			}
		}
		_ = nc.Close()
		<-ended
	})
}

// An upstream that does not know 100 (Continue) gets the body after a second.
func TestExpectOnTheClient(t *testing.T) {
	for _, knows := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			waited := make(chan time.Duration, 1)
			go func() {
				br := bufio.NewReader(far)
				readHeadText(br)
				start := time.Now()
				if knows {
					time.Sleep(300 * time.Millisecond)
					_, _ = io.WriteString(far, "HTTP/1.1 100 Continue\r\n\r\n")
				}
				_, _ = io.ReadFull(br, make([]byte, 4))
				waited <- time.Since(start)
				_, _ = io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}()
			conn := NewConn(near, "up:1")
			resp, err := conn.RoundTrip(t.Context(), request("POST", "/", header("Expect", "100-continue"), "body"))
			if err != nil || resp.Status != 200 {
				t.Fatalf("RoundTrip = %+v, %v", resp, err)
			}
			want := time.Second
			if knows {
				want = 300 * time.Millisecond
			}
			if got := <-waited; got != want {
				t.Errorf("the body came after %v, want %v", got, want)
			}
			_ = conn.Close()
		})
	}
}

// A response read to its end while the request is still being sent: the
// connection is kept if the rest follows at once, and closed otherwise.
func TestAnswerBeforeUploadEnds(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		keep  bool
	}{{10 * time.Millisecond, true}, {time.Second, false}} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go func() {
				br := bufio.NewReader(far)
				readHeadText(br)
				_, _ = io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				_, _ = io.Copy(io.Discard, br)
			}()
			pr, pw := io.Pipe()
			go func() {
				time.Sleep(c.after)
				_, _ = io.WriteString(pw, "late")
				_ = pw.Close()
			}()
			conn := NewConn(near, "up:1")
			r := request("POST", "/", nil, "")
			r.Body, r.Length = pr, -1
			resp, err := conn.RoundTrip(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); string(body) != "ok" || err != nil || conn.Reusable() {
				t.Errorf("body %q, %v, reusable %v before the upload's end", body, err, conn.Reusable())
			}
			_ = resp.Body.Close()
			time.Sleep(2 * time.Second)
			if conn.Reusable() != c.keep {
				t.Errorf("upload ended after %v: reusable %v, want %v", c.after, conn.Reusable(), c.keep)
			}
			_ = conn.Close()
		})
	}
}

// One Read, one chunk; what has arrived is given at once.
func TestChunksAsTheyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go func() {
			readHeadText(bufio.NewReader(far))
			_, _ = io.WriteString(far, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nth")
			time.Sleep(time.Second)
			_, _ = io.WriteString(far, "ree\r\n0\r\n\r\n")
		}()
		conn := NewConn(near, "up:1")
		resp, err := conn.RoundTrip(t.Context(), request("GET", "/", nil, ""))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var got []string
		p := make([]byte, 100)
		for err == nil {
			var n int
			n, err = resp.Body.Read(p)
			got = append(got, string(p[:n])+"@"+time.Since(start).String())
		}
		if s := strings.Join(got, " "); s != "one@0s two@0s th@0s ree@1s" || err != io.EOF {
			t.Errorf("reads = %s, %v", s, err)
		}
		_ = conn.Close()
	})
}
