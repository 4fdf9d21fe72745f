package recorder

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
)

const (
	childVar = "UNDERSTUDY_RECORD_CHILD" // the directory that a child records to
	killsVar = "UNDERSTUDY_KILLS"        // how many recordings TestKill kills; 20 where unset
)

// bodyOf is what exchange id carries: short text mostly, now and then binary,
// now and then more than memory may hold.
func bodyOf(id uint64) []byte {
	unit := fmt.Appendf(nil, "<%d>", id)
	switch {
	case id%50 == 0:
		return bytes.Repeat(unit, 400_000/len(unit))
	case id%20 == 0:
		return bytes.Repeat(append(unit, 0xff), 10_000/len(unit))
	}
	return bytes.Repeat(unit, 1024/len(unit))
}

// recordUntilKilled is the child: it records under load, and prints each
// exchange's ID with the time at which its client would have seen it end.
func recordUntilKilled() {
	dir := os.Getenv(childVar)
	if dir == "" {
		return
	}
	go func() { // owned by the process: ends it when the parent is gone
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	r, err := New(dir, Options{Tool: "kill test"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go r.Run(context.Background()) // owned by the process
	var ids atomic.Uint64
	var out sync.Mutex
	for range 2 {
		go func() { // owned by the process
			beat := time.NewTicker(time.Millisecond)
			for range beat.C {
				x := sample(int(ids.Add(1)))
				tape := r.Begin(x)
				for body := bodyOf(x.ID); len(body) > 0; {
					n := min(len(body), 32<<10)
					tape.ResponseBody(body[:n])
					body = body[n:]
				}
				tape.Done(x)
				if tape.why() == "" {
					out.Lock()
					fmt.Printf("%d %d\n", x.ID, time.Now().UnixNano())
					out.Unlock()
				}
			}
		}()
	}
	select {}
}

// Recordings are killed at random moments. What a client saw complete more than
// a second before is there, nothing is torn, and the cassette says what befell it.
func TestKill(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 4
	}
	if s := os.Getenv(killsVar); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatalf("%s: want a number, got %q", killsVar, s)
		}
	}
	type result struct {
		lag time.Duration
		n   int
		err error
	}
	results := make(chan result)
	slots := make(chan struct{}, 3) // children wait for the disk and the clock, mostly; more make each other late
	dir := t.TempDir()
	for i := range kills {
		go func() { // ends with its result, which is awaited below
			slots <- struct{}{}
			defer func() { <-slots }()
			lag, n, err := killOne(filepath.Join(dir, strconv.Itoa(i)))
			results <- result{lag, n, err}
		}()
	}
	var longest time.Duration
	total := 0
	for range kills {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
		}
		longest, total = max(longest, r.lag), total+r.n
	}
	t.Logf("%d kills, %d exchanges acknowledged; the oldest one missing was %s old", kills, total, longest)
}

// killOne returns the age of the oldest acknowledged exchange that is not there,
// and how many were acknowledged.
func killOne(dir string) (lag time.Duration, n int, err error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+dir)
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		return 0, 0, err
	}
	defer hold.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	acked := map[uint64]time.Time{}
	killed := make(chan time.Time, 1)
	var kill *time.Timer
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var id uint64
		var at int64
		if _, err := fmt.Sscan(lines.Text(), &id, &at); err != nil {
			continue // the last line may be torn: it is the child's talk, not the cassette
		}
		acked[id] = time.Unix(0, at)
		if kill == nil { // the run begins with its first exchange
			kill = time.AfterFunc(1100*time.Millisecond+rand.N(500*time.Millisecond), func() {
				killed <- time.Now()
				cmd.Process.Kill()
			})
		}
	}
	cmd.Wait() // its error is the kill
	if kill == nil {
		return 0, 0, errors.New("the child recorded nothing")
	}
	killedAt := <-killed
	c, err := cassette.Open(dir)
	if err != nil {
		return 0, 0, err
	}
	if c.Manifest.State != cassette.StateRecording || len(c.Warnings) == 0 {
		return 0, 0, fmt.Errorf("the killed cassette is %q with warnings %v, want it to say that it was cut short", c.Manifest.State, c.Warnings)
	}
	there := map[uint64]bool{}
	for x, err := range c.Exchanges() {
		if err != nil {
			return 0, 0, err
		}
		there[x.ID] = true
		body, err := c.OpenBody(&x.Response.Body)
		if err != nil {
			return 0, 0, fmt.Errorf("exchange %d: %v", x.ID, err)
		}
		data, err := io.ReadAll(body)
		body.Close()
		if err != nil || !bytes.Equal(data, bodyOf(x.ID)) {
			return 0, 0, fmt.Errorf("exchange %d has a body of %d bytes (%v), want %d as sent", x.ID, len(data), err, len(bodyOf(x.ID)))
		}
	}
	for id, at := range acked {
		if there[id] {
			continue
		}
		age := killedAt.Sub(at)
		lag = max(lag, age)
		if age > time.Second {
			return 0, 0, fmt.Errorf("exchange %d ended %s before the kill and is missing", id, age)
		}
	}
	// The next recording mends it and goes on.
	r, err := New(dir, Options{Append: true})
	if err != nil {
		return 0, 0, err
	}
	stop := run(r)
	record(r, sample(0), "", "after the crash")
	if err := stop(); err != nil {
		return 0, 0, err
	}
	findings, err := cassette.Verify(dir)
	if err != nil {
		return 0, 0, err
	}
	for _, f := range findings { // warned of: the cut, and bodies whose line never came
		if f.Severity == cassette.Damage {
			return 0, 0, fmt.Errorf("after going on: %w", f.Error)
		}
	}
	return lag, len(acked), nil
}
