package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stampLoad is what the stamping client does: as wrk with the same script, a
// closed loop over kept connections.
type stampLoad struct {
	url    string
	conns  int
	took   time.Duration
	least  time.Duration // each connection pauses so long before each request,
	think  time.Duration // and evenly up to so much more
	spread time.Duration // over which the connections' beginnings are spread evenly
}

func (l stampLoad) args() []string {
	return []string{"client", l.url, strconv.Itoa(l.conns), l.took.String(), l.least.String(), l.think.String(), l.spread.String()}
}

func parseStampLoad(args []string) (stampLoad, error) {
	if len(args) != 6 {
		return stampLoad{}, fmt.Errorf("client: want URL CONNECTIONS TIME LEAST THINK SPREAD, got %q", args)
	}
	l := stampLoad{url: args[0]}
	var err error
	if l.conns, err = strconv.Atoi(args[1]); err != nil || l.conns < 1 {
		return l, fmt.Errorf("client: want a number of connections, got %q", args[1])
	}
	for i, d := range []*time.Duration{&l.took, &l.least, &l.think, &l.spread} {
		if *d, err = time.ParseDuration(args[2+i]); err != nil {
			return l, fmt.Errorf("client: %w", err)
		}
	}
	return l, nil
}

// stamps is what the stamping client found. Times are µs.
type stamps struct {
	requests           int
	unstamped          int     // answers whose coming the kernel did not stamp
	errors             int     // connections refused or lost, answers that were wrong
	socket50, socket99 float64 // from the request's send until the answer's first bytes were at the socket
	seen50, seen99     float64 // until the client had read it whole
	cpu                float64 // the client's own, for each request
	first              string  // the first of the errors
}

// fault counts errors that have one cause.
func (s *stamps) fault(n int, err error) {
	if s.errors == 0 {
		s.first = err.Error()
	}
	s.errors += n
}

// line is how the client tells its result; parseStamps reads it.
func (s stamps) line() string {
	return fmt.Sprintf("STAMPS %d %d %d %.1f %.1f %.1f %.1f %.1f %q", s.requests, s.unstamped, s.errors,
		s.socket50, s.socket99, s.seen50, s.seen99, s.cpu, s.first)
}

func parseStamps(out string) (stamps, error) {
	_, line, ok := strings.Cut(out, "STAMPS ")
	var s stamps
	if ok {
		_, err := fmt.Sscanf(line, "%d %d %d %f %f %f %f %f %q", &s.requests, &s.unstamped, &s.errors,
			&s.socket50, &s.socket99, &s.seen50, &s.seen99, &s.cpu, &s.first)
		ok = err == nil
	}
	if !ok {
		return stamps{}, fmt.Errorf("read the stamping client's result: want STAMPS, eight numbers and a text, got %q", out)
	}
	if s.requests == 0 {
		s.seen50, s.seen99, s.cpu = math.NaN(), math.NaN(), math.NaN()
	}
	if s.requests == s.unstamped {
		s.socket50, s.socket99 = math.NaN(), math.NaN()
	}
	return s, nil
}

// String tells a result as it comes, also what no table has.
func (s stamps) String() string {
	return fmt.Sprintf("%d answers, %d without a stamp; at the socket p50 %.0f µs p99 %.0f µs; read p50 %.0f µs p99 %.0f µs; the client's own CPU %.1f µs",
		s.requests, s.unstamped, s.socket50, s.socket99, s.seen50, s.seen99, s.cpu)
}

// stamped runs the stamping client, a process of its own as wrk is.
func (b *bench) stamped(ctx context.Context, l stampLoad) (stamps, error) {
	cmd := exec.CommandContext(ctx, b.self, l.args()...)
	// A thread that waits without the runtime's knowledge is interrupted every 10 ms,
	// and where there is a second processor, another thread is woken to take over.
	cmd.Env = append(slices.Clone(b.env), "GODEBUG=asyncpreemptoff=1", "GOMAXPROCS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return stamps{}, context.Cause(ctx)
		}
		return stamps{}, fmt.Errorf("stamping client, %s: %w: %s", l.url, err, out.String())
	}
	return parseStamps(out.String())
}

// stampLoad is the load of the stamping client, beside wrk's, of a group that asks for a delay.
// It takes no less than seconds, and no less than two of the delays: after the first, answers come.
func (g *group) stampLoad(s subject, url string, conns, seconds int) stampLoad {
	l := stampLoad{url: url, conns: conns, took: max(time.Duration(seconds)*time.Second, 2*g.asked), think: g.think}
	if s.paced {
		l.least = g.asked
	}
	if g.think > 0 {
		// Over the mean time of a connection's round: then the rate is even from the first second.
		l.spread = g.asked + g.think/2
	}
	return l
}

func ownCPU() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// percentile is of sorted values; zero of none.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

// fold makes the figures of a run.
func (s *stamps) fold(seen, socket []time.Duration, cpu time.Duration) {
	slices.Sort(seen)
	slices.Sort(socket)
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	s.requests, s.unstamped = len(seen), len(seen)-len(socket)
	s.seen50, s.seen99 = us(percentile(seen, 0.5)), us(percentile(seen, 0.99))
	s.socket50, s.socket99 = us(percentile(socket, 0.5)), us(percentile(socket, 0.99))
	if len(seen) > 0 {
		s.cpu = us(cpu) / float64(len(seen))
	}
}
