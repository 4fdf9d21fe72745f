package tunnel_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/tunnel"
)

// The addresses that the client connects to; whatever they are, the test answers.
const (
	address4 = "192.0.2.80:80"
	address6 = "[2001:db8::80]:80"
)

// far is what the test answers: what was asked is the first byte.
const (
	asksEcho   = 'e'
	asksSource = 's' // of so many bytes, 8 digits
	asksSink   = 'k' // until its end, and then their sum
	asksChange = 'c' // of the link
	asksMove   = 'm' // of the connection, into the class "moved"
)

// link is a real one between a captured client, which is this binary again, and the test.
type link struct {
	*tunnel.Link
	t       testing.TB
	classes []shaping.LinkClass
	next    shaping.Link // what asksChange puts in force
	// restless moves a connection from class to class while it sends.
	restless bool
}

// over runs the client over a link and returns what it found.
func over(t testing.TB, between bool, down, up string, next string, args ...string) (*link, result) {
	t.Helper()
	l := &link{t: t, next: shaping.Link{Down: spec(t, next), Up: spec(t, next)}}
	return l, l.over(between, shaping.Link{Down: spec(t, down), Up: spec(t, up)}, args...)
}

// over runs the client over the link under conditions, and l.classes.
func (l *link) over(between bool, how shaping.Link, args ...string) result {
	t := l.t
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var carrying, serving sync.WaitGroup
	g, err := gateway.Start(ctx, gateway.Options{
		Argv: append([]string{"/proc/self/exe"}, args...), Env: append(os.Environ(), role+"=client"), Stdout: write,
		Carry: true, Between: between,
		Ready: func(g *gateway.Gateway) (err error) {
			l.Link, err = tunnel.Open(g.Down().Device, g.Up().Device, func(string, shaping.Direction) uint64 { return 42 }, g.Name)
			if err == nil {
				if err := l.Change(ctx, how, l.classes...); err != nil {
					t.Error(err)
				}
				carrying.Go(func() {
					if err := l.Run(ctx); err != nil {
						t.Error(err)
					}
				})
				for _, ln := range g.Listeners() {
					serving.Go(func() { l.serve(ln, &serving) })
				}
			}
			return err
		}})
	write.Close()
	if err != nil {
		cancel()
		carrying.Wait()
		serving.Wait()
		if _, is := errors.AsType[*gateway.StepError](err); is && os.Getenv("UNDERSTUDY_INTERNAL_TEST_ALL") == "" {
			t.Skip("SKIPPED, this machine cannot carry a link: ", err)
		}
		t.Fatal(err)
	}
	defer func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		serving.Wait() // it hears of the client's end by the link
		cancel()
		carrying.Wait()
	}()
	text, _ := io.ReadAll(read)
	if code, err := g.Wait(); code != 0 || err != nil {
		t.Fatalf("the client ended with %d (%v): %s", code, err, text)
	}
	var r result
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return r
}

func spec(t testing.TB, text string) shaping.Conditions {
	t.Helper()
	if text == "" {
		return shaping.Conditions{}
	}
	c, err := shaping.ParseSpec(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (l *link) serve(ln net.Listener, running *sync.WaitGroup) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		running.Go(func() {
			defer conn.Close()
			l.answer(conn)
		})
	}
}

func (l *link) answer(conn net.Conn) {
	ask := make([]byte, 9)
	for {
		if _, err := io.ReadFull(conn, ask); err != nil {
			return
		}
		switch n, _ := strconv.Atoi(string(ask[1:])); ask[0] {
		case asksEcho:
			_, _ = conn.Write(ask)
		case asksSource:
			for i := 0; n > 0; i++ {
				part := n
				if l.restless {
					part = min(n, 1<<16) // of what the pattern repeats
					l.Move(flowOf(conn), l.classes[i%len(l.classes)].Name)
				}
				_, _ = io.CopyN(conn, pattern{}, int64(part))
				n -= part
			}
		case asksSink:
			sum := sha256.New()
			_, _ = io.CopyN(sum, conn, int64(n))
			_, _ = conn.Write(sum.Sum(nil))
		case asksChange:
			if err := l.Change(context.Background(), l.next, l.classes...); err != nil {
				l.t.Error(err)
			}
			_, _ = conn.Write(ask)
		case asksMove:
			if !l.Move(flowOf(conn), "moved") {
				l.t.Error("there is no class to move to")
			}
			_, _ = conn.Write(ask)
		}
	}
}

func flowOf(conn net.Conn) tunnel.Flow {
	return tunnel.Flow{User: conn.RemoteAddr().(*net.TCPAddr).AddrPort(), Peer: conn.LocalAddr().(*net.TCPAddr).AddrPort()}
}

// pattern is endless data that differs from place to place.
type pattern struct{}

func (pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(i * 7 >> (i % 5))
	}
	return len(b), nil
}

// result is what the client found.
type result struct {
	Trips  []time.Duration // sorted
	Other  []time.Duration // likewise, of another connection
	Took   time.Duration
	Intact bool
}

func (r result) median() time.Duration { return r.Trips[len(r.Trips)/2] }

// within holds a median against what the link makes of it. A busy machine adds to it, but
// not everything to the half of the trips.
func (r result) within(t *testing.T, what string, least time.Duration) {
	t.Helper()
	if got := r.median(); got < least-time.Millisecond || got > 2*least+250*time.Millisecond {
		t.Errorf("%s: the median of %d round trips is %v, want %v and little more", what, len(r.Trips), got, least)
	}
}

// both runs a test over devices and over packet sockets.
func both(t *testing.T, test func(t *testing.T, between bool)) {
	for _, between := range []bool{false, true} {
		name := "devices"
		if between {
			name = "between"
		}
		t.Run(name, func(t *testing.T) { test(t, between) })
	}
}

func TestRealDelay(t *testing.T) {
	both(t, func(t *testing.T, between bool) {
		for _, to := range []string{address4, address6} {
			_, r := over(t, between, "delay=30ms", "delay=20ms", "", "echo", to, "15")
			r.within(t, to, 50*time.Millisecond)
		}
		_, r := over(t, between, "delay=30ms", "", "", "echo", address4, "15")
		r.within(t, "down alone", 30*time.Millisecond)
	})
}

// What is lost is counted, and is as much as was asked for.
func TestRealLoss(t *testing.T) {
	both(t, func(t *testing.T, between bool) {
		const n, p = 4000, 0.2
		l, _ := over(t, between, "", "loss=20%", "", "spray", "192.0.2.9:9", strconv.Itoa(n))
		all, err := l.Counters()
		if err != nil {
			t.Fatal(err)
		}
		c := all[shaping.Up]
		total := float64(c.SentPackets + c.Dropped)
		if total < n/2 { // the sender's own queue may be full for a moment
			t.Fatalf("%v packets came, want %d: %+v", total, n, c)
		}
		if want, sigma := total*p, math.Sqrt(total*p*(1-p)); math.Abs(float64(c.Dropped)-want) > 5*sigma {
			t.Errorf("%d of %.0f lost, want %.0f ± %.0f", c.Dropped, total, want, 5*sigma)
		}
	})
}

// Whatever befalls the packets, TCP's data come through whole, in super-packets that are
// cut and alone.
func TestRealDataComeWhole(t *testing.T) {
	const worst = "delay=2ms,jitter=1ms,loss=0.3%,burst=2,duplicate=1%,corrupt=0.3%,reorder=1%,rate=400mbit"
	both(t, func(t *testing.T, between bool) {
		for _, how := range []string{"", "limit=100000", worst, "slot=2ms,ecn=true,loss=0.2%"} {
			for _, to := range []string{address4, address6} {
				for _, what := range []string{"source", "sink"} {
					l, r := over(t, between, how, how, "", what, to, "3000000")
					if !r.Intact {
						t.Errorf("%s, %s from %s: the data are not whole", how, what, to)
					}
					all, _ := l.Counters()
					if c := all[shaping.Down]; c.SentPackets == 0 || what == "source" && c.SentBytes < 3_000_000 {
						t.Errorf("%s, %s from %s: down counted %+v", how, what, to, c)
					}
				}
			}
		}
	})
}

// A rate is not exceeded, and a queue is no longer than was asked for.
func TestRealRate(t *testing.T) {
	both(t, func(t *testing.T, between bool) {
		const bytes, rate = 4_000_000, 40_000_000
		l, r := over(t, between, "rate=40mbit", "", "", "source", address4, strconv.Itoa(bytes))
		if least := time.Duration(float64(bytes) * 8 / rate * float64(time.Second)); r.Took < least*98/100 {
			t.Errorf("%d bytes took %v, want %v at least", bytes, r.Took, least)
		}
		if c := l.Conditions()[shaping.Down]; c.Limit == 0 || c.Rate != rate {
			t.Errorf("Conditions = %v", c)
		}
		if _, is := l.Conditions()[shaping.Up]; is {
			t.Error("up has conditions that nobody asked for")
		}
	})
}

// Other conditions come into force while packets are under way.
func TestRealChange(t *testing.T) {
	both(t, func(t *testing.T, between bool) {
		_, r := over(t, between, "delay=1ms", "", "delay=40ms", "changed", address4, "9")
		r.within(t, "after the change", 80*time.Millisecond)
	})
}

// A link leaves no descriptor behind; goroutines are TestMain's to look for.
func TestRealLeavesNothing(t *testing.T) {
	count := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	over(t, false, "delay=1ms", "", "", "echo", address4, "1")
	before := count()
	over(t, false, "delay=1ms", "", "", "echo", address4, "1")
	if after := count(); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestOpenWithoutEnds(t *testing.T) {
	if _, err := tunnel.Open(nil, nil, nil, nil); err == nil {
		t.Error("Open made a link of nothing")
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := tunnel.Open(f, f, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Change(t.Context(), shaping.Link{Up: shaping.Conditions{Jitter: 1}}); err == nil {
		t.Error("Change took a jitter without a delay")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ended); err != nil {
		t.Error(err)
	}
}

// What it costs to sort packets into classes.
func BenchmarkClasses(b *testing.B) {
	for name, classes := range map[string][]shaping.LinkClass{
		"none":   nil,
		"one":    {class(b, "a", "198.51.100.1", "")},
		"twenty": slices.Repeat([]shaping.LinkClass{class(b, "a", "no.such.name:81", "")}, 20),
	} {
		b.Run(name, func(b *testing.B) {
			const bytes = 8_000_000
			b.SetBytes(bytes)
			for i := range classes {
				classes[i].Name = strconv.Itoa(i)
			}
			l := &link{t: b, classes: classes}
			r := l.over(false, shaping.Link{}, "source", address4, strconv.Itoa(bytes*b.N))
			b.ReportMetric(float64(bytes)*float64(b.N)*8/r.Took.Seconds()/1e6, "Mbit/s")
		})
	}
}

func BenchmarkLink(b *testing.B) {
	for name, how := range map[string]string{"plain": "", "held": "limit=100000", "rate=1gbit": "rate=1gbit", "rate=100mbit": "rate=100mbit"} {
		for _, between := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/between=%v", name, between), func(b *testing.B) {
				const bytes = 8_000_000
				b.SetBytes(bytes)
				_, r := over(b, between, how, how, "", "source", address4, strconv.Itoa(bytes*b.N))
				b.ReportMetric(float64(bytes)*float64(b.N)*8/r.Took.Seconds()/1e6, "Mbit/s")
			})
		}
	}
}

// client is what runs behind the link: WHAT ADDRESS NUMBER. It tells as JSON what it found.
func client(args []string) (code int) {
	n, _ := strconv.Atoi(args[2])
	var r result
	var err error
	if args[0] == "spray" {
		err = spray(args[1], n)
	} else {
		r, err = converse(args[0], args[1], n)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
	return 0
}

func converse(what, to string, n int) (r result, err error) {
	conn, err := net.Dial("tcp", to)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	ask := func(kind byte, n int) []byte { return fmt.Appendf(nil, "%c%08d", kind, n) }
	echo := func(kind byte) error {
		start, b := time.Now(), ask(kind, 0)
		if _, err := conn.Write(b); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, b)
		r.Trips = append(r.Trips, time.Since(start))
		return err
	}
	start := time.Now()
	defer func() { r.Took = time.Since(start) }()
	switch what {
	case "changed":
		if err = echo(asksChange); err == nil {
			r.Trips = nil
			err = echoes(&r, n, echo)
		}
	case "moved": // and another to the same peer, which is not
		if err = echo(asksMove); err == nil {
			r.Trips = nil
			if err = echoes(&r, n, echo); err == nil {
				r.Other, err = otherTrips(to, n)
			}
		}
	case "loaded": // while another has more to take than its class's rate
		load, err := net.Dial("tcp", os.Getenv("LOAD"))
		if err != nil {
			return r, err
		}
		defer load.Close()
		if _, err = load.Write(ask(asksSource, 50_000_000)); err == nil {
			_, err = io.ReadFull(load, make([]byte, 100_000)) // its queue is full
		}
		if err == nil {
			err = echoes(&r, n, echo)
		}
		return r, err
	case "echo":
		err = echoes(&r, n, echo)
	case "source":
		sum, want := sha256.New(), sha256.New()
		_, _ = conn.Write(ask(asksSource, n))
		if _, err = io.CopyN(sum, conn, int64(n)); err == nil {
			r.Took = time.Since(start)
			_, err = io.CopyN(want, pattern{}, int64(n))
		}
		r.Intact = bytes.Equal(sum.Sum(nil), want.Sum(nil))
	case "sink":
		want := sha256.New()
		_, _ = conn.Write(ask(asksSink, n))
		_, err = io.CopyN(io.MultiWriter(conn, want), pattern{}, int64(n))
		got := make([]byte, sha256.Size)
		if err == nil {
			_, err = io.ReadFull(conn, got)
		}
		r.Intact = bytes.Equal(got, want.Sum(nil))
	}
	return r, err
}

func otherTrips(to string, n int) ([]time.Duration, error) {
	r, err := converse("echo", to, n)
	return r.Trips, err
}

func echoes(r *result, n int, echo func(byte) error) error {
	for range n {
		if err := echo(asksEcho); err != nil {
			return err
		}
	}
	for i := range r.Trips { // by insertion: few
		for j := i; j > 0 && r.Trips[j] < r.Trips[j-1]; j-- {
			r.Trips[j], r.Trips[j-1] = r.Trips[j-1], r.Trips[j]
		}
	}
	return nil
}

// spray sends datagrams that are refused.
func spray(to string, n int) error {
	conn, err := net.Dial("udp", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	// In batches that a user's packet socket holds while the other process has no CPU.
	const batch = 20
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for i := range n {
		if i%batch == 0 {
			<-pause.C
		}
		_, _ = conn.Write([]byte("datagram")) // that one before was refused is no matter
	}
	return nil
}
