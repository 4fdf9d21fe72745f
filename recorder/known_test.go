package recorder

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
)

// answer passes an exchange with this response through r, in pieces of n bytes.
func answer(r *Recorder, x *fixtures.Exchange, body string, n int) *Tape {
	t := r.Begin(x)
	for rest := []byte(body); len(rest) > 0; {
		p := bytes.Clone(rest[:min(n, len(rest))])
		t.ResponseBody(p)
		clear(p)
		rest = rest[len(p):]
	}
	t.Done(x)
	return t
}

func large(id int, kind, length string) *fixtures.Exchange {
	x := sample(id)
	x.Response.Header = fixtures.Header{{Name: "Content-Type", Value: kind}}
	if length != "" {
		x.Response.Header.Add("Content-Length", length)
	}
	return x
}

// wantBodies opens the cassette and compares each exchange's response.
func wantBodies(t *testing.T, dir string, want []string) *cassette.Cassette {
	t.Helper()
	c, err := cassette.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for x, err := range c.Exchanges() {
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.OpenBody(&x.Response.Body)
		if err != nil {
			t.Fatalf("exchange %d: %v", x.ID, err)
		}
		got, err := io.ReadAll(b)
		b.Close()
		if w := want[x.ID-1]; err != nil || string(got) != w || x.Response.Body.Size != int64(len(w)) {
			t.Errorf("exchange %d has %d bytes, size %d (%v), want the %d bytes that passed", x.ID, len(got), x.Response.Body.Size, err, len(w))
		}
		n++
	}
	if n != len(want) {
		t.Errorf("exchanges = %d, want %d", n, len(want))
	}
	findings, err := cassette.Verify(dir)
	if err != nil || len(findings) > 0 {
		t.Errorf("verify = %v, %v, want nothing", findings, err)
	}
	return c
}

// drained waits until the writer has nothing to do.
func drained(r *Recorder) {
	for r.Stats().Waiting > 0 {
		runtime.Gosched()
	}
}

// What comes again and again is known in the end, and is exact all the same:
// also where it differs late, breaks off, or goes on.
func TestKnownBodiesAreExact(t *testing.T) {
	var learned int64
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		unit := "0123456789abcdef"
		if seed%2 == 1 {
			unit = "\x00\xff\x00binary bytes"
		}
		whole := strings.Repeat(unit, 10_000)
		late := whole[:len(whole)-1] + "!"
		half := whole[:len(whole)/2] + "?" + whole[len(whole)/2+1:]
		early := whole[:100] + "?" + whole[101:]
		variants := []string{whole, whole, whole, whole, late, half, early, whole[:len(whole)-10], whole[:50_000], whole[:64<<10], whole + "more", whole[:40]}
		kinds := []string{"text/plain", "application/octet-stream"}
		dir := filepath.Join(t.TempDir(), "c")
		r, err := New(dir, Options{BodyLimit: 70_000})
		if err != nil {
			t.Fatal(err)
		}
		stop := run(r)
		var want []string
		for i := range 40 {
			body := variants[rnd.IntN(len(variants))]
			length := fmt.Sprint(len(whole))
			if rnd.IntN(8) == 0 {
				length = ""
			}
			x := large(i+1, kinds[rnd.IntN(20)/19], length)
			if tape := answer(r, x, body, 1000+rnd.IntN(70_000)); tape.why() != "" {
				t.Fatalf("seed %d: exchange %d is lost: %s", seed, i+1, tape.why())
			}
			want = append(want, body)
			if rnd.IntN(3) > 0 {
				drained(r)
			}
		}
		r.library.mu.Lock()
		learned = max(learned, r.library.held)
		r.library.mu.Unlock()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		wantEmpty(t, r)
		wantBodies(t, dir, want)
	}
	if learned == 0 || learned > 8<<20 {
		t.Errorf("bytes of known bodies = %d, want some, within an eighth of the budget", learned)
	}
}

// A known body is stored once, and each time after the third costs no piece in
// the queue: a standing disk cannot make it too much.
func TestKnownBodyNeedsNoRoom(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	r, err := New(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(r)
	body := strings.Repeat("0123456789abcdef", 1<<16)
	var want []string
	for i := range 4 {
		answer(r, large(i+1, "application/octet-stream", "1048576"), body, 50_000)
		want = append(want, body)
		drained(r)
	}
	before := r.Stats().Held
	x := large(5, "application/octet-stream", "1048576")
	tape := r.Begin(x)
	tape.ResponseBody([]byte(body))
	if got := r.Stats().Held; got != before || before < 1<<20 {
		t.Errorf("held with a known body under way = %d after %d, want no more than the one that it is compared with", got, before)
	}
	tape.Done(x)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	wantBodies(t, dir, append(want, body))
	files, err := os.ReadDir(filepath.Join(dir, cassette.BodiesDir))
	if err != nil || len(files) != 1 {
		t.Errorf("files = %v, %v, want one", files, err)
	}
	wantEmpty(t, r)
}

// A known body in which a secret of this very exchange stands is none.
func TestKnownBodyIsSearched(t *testing.T) {
	for _, kind := range []string{"application/json", "text/plain", "application/octet-stream"} {
		dir := filepath.Join(t.TempDir(), "c")
		r, err := New(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		stop := run(r)
		body := `{"items":["` + strings.Repeat("0123456789 ", 50_000) + `","4f9c1d2e8ab04c55"]}`
		for i := range 6 {
			if known := r.Stats().Held >= int64(len(body)); known != (i > 0) {
				t.Errorf("%s: before exchange %d the body is known = %v, want %v", kind, i+1, known, i > 0)
			}
			x := large(i+1, kind, fmt.Sprint(len(body)))
			if i == 5 {
				x.Request.Header = fixtures.Header{{Name: "Cookie", Value: "session=4f9c1d2e8ab04c55"}}
			}
			answer(r, x, body, 30_000)
			drained(r)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		c, err := cassette.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		for x, err := range c.Exchanges() {
			if err != nil {
				t.Fatal(err)
			}
			b, err := c.OpenBody(&x.Response.Body)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(b)
			b.Close()
			if stays := strings.Contains(string(got), "4f9c1d2e8ab04c55"); stays != (x.ID != 6) {
				t.Errorf("%s: in exchange %d the secret stays = %v, want it gone where it is one", kind, x.ID, stays)
			}
		}
		wantEmpty(t, r)
	}
}

// Where room is short, a body that has begun is not lost to one that begins.
func TestBegunBodiesComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &memory{gate: make(chan struct{})}
		r, stop := start(t, d, Options{Budget: 2 << 20, BodyLimit: 64 << 10})
		piece := make([]byte, 32<<10)
		first := r.Begin(sample(1))
		for range 38 { // more than half of the room
			first.ResponseBody(piece)
		}
		second := r.Begin(sample(2))
		for range 38 {
			second.ResponseBody(piece)
			first.RequestBody(piece[:1])
		}
		if second.why() != LostBudget || first.why() != "" {
			t.Errorf("lost = %q and %q, want the second only", first.why(), second.why())
		}
		first.ResponseBody(piece)
		first.Done(sample(1))
		second.Done(sample(2))
		close(d.gate)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if s := r.Stats(); s.Recorded != 1 || s.Dropped[LostBudget] != 1 {
			t.Errorf("stats = %+v, want one recorded and one lost", s)
		}
		wantEmpty(t, r)
	})
}

// A busy writer is not woken for each exchange: it takes many at once.
func TestExchangesGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &memory{}
		r, stop := start(t, d, Options{})
		record(r, sample(1), "", "x")
		synctest.Wait()
		if got := len(d.exchanges(t)); got != 1 {
			t.Errorf("lines after the first = %d, want 1 at once", got)
		}
		for i := range 10 {
			record(r, sample(i+2), "", "x")
		}
		synctest.Wait()
		if got := len(d.exchanges(t)); got != 1 {
			t.Errorf("lines right after = %d, want 1: the others gather", got)
		}
		for i := range 600 {
			record(r, sample(i+12), "", "x")
		}
		synctest.Wait()
		if got := len(d.exchanges(t)); got < 512 {
			t.Errorf("lines with a long queue = %d, want it taken at once", got)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if got := len(d.exchanges(t)); got != 611 {
			t.Errorf("lines in the end = %d, want 611", got)
		}
	})
}
