package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
)

func TestRecordsWhatPassed(t *testing.T) {
	d := &memory{}
	r, stop := start(t, d, Options{})
	for i := range 50 {
		x := sample(i + 1)
		tape := r.Begin(x)
		p := []byte("ask ")
		tape.RequestBody(p)
		copy(p, "xxxx") // the caller's buffer is reused at once
		tape.RequestBody([]byte("politely"))
		p = fmt.Appendf(nil, "answer %d", i)
		tape.ResponseBody(p)
		clear(p)
		x.Response.Body.Frames = []fixtures.Frame{{At: time.Millisecond, Size: len(p)}}
		tape.Done(x)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	xs := d.exchanges(t)
	if len(xs) != 50 {
		t.Fatalf("exchanges = %d, want 50", len(xs))
	}
	for i, x := range xs {
		if x.ID != uint64(i+1) || string(x.Request.Body.Bytes) != "ask politely" || string(x.Response.Body.Bytes) != fmt.Sprintf("answer %d", i) {
			t.Errorf("exchange %d = id %d, %q, %q, want it as it passed", i, x.ID, x.Request.Body.Bytes, x.Response.Body.Bytes)
		}
		if len(x.Response.Body.Frames) != 1 {
			t.Errorf("exchange %d has %d frames, want 1", i, len(x.Response.Body.Frames))
		}
	}
	if s := r.Stats(); s.Recorded != 50 || len(s.Dropped) != 0 {
		t.Errorf("stats = %+v, want 50 recorded and none dropped", s)
	}
	m := d.manifests[len(d.manifests)-1]
	if m.State != cassette.StateComplete || m.Counts.Exchanges != 50 || m.CutShort != "" || !d.closed {
		t.Errorf("manifest = %+v, closed = %v, want it complete with 50 exchanges, and closed", m, d.closed)
	}
	wantEmpty(t, r)
}

func TestNilTapeAndNilRecorder(t *testing.T) {
	var r *Recorder
	tape := r.Begin(sample(1))
	tape.RequestBody([]byte("x"))
	tape.ResponseBody([]byte("x"))
	tape.Done(sample(1))
	if tape.why() != "" {
		t.Errorf("why() of no tape = %q, want nothing", tape.why())
	}
}

func TestKeepDecides(t *testing.T) {
	d := &memory{}
	r, stop := start(t, d, Options{Keep: func(x *fixtures.Exchange) bool { return x.ID%2 == 0 }})
	for i := range 10 {
		record(r, sample(i+1), "", "")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if s := r.Stats(); s.Recorded != 5 || s.Skipped != 5 {
		t.Errorf("recorded = %d and skipped = %d, want 5 and 5", s.Recorded, s.Skipped)
	}
}

// The disk does not move at all: callers must neither wait nor lose count.
func TestStandingDiskDoesNotSlowTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &memory{gate: make(chan struct{})}
		r, stop := start(t, d, Options{Queue: 10})
		record(r, sample(1), "a", "b")
		synctest.Wait() // the writer stands in its first write
		begun := time.Now()
		for i := range 99 {
			record(r, sample(i+2), "a", "b")
		}
		if got := time.Since(begun); got != 0 {
			t.Errorf("99 exchanges beside a standing disk took %s, want 0s", got)
		}
		s := r.Stats()
		if s.Dropped[LostQueue] != 89 || s.Waiting != 20 {
			t.Errorf("dropped = %v and waiting = %d, want 89 for a full queue, and 10 with 10 names", s.Dropped, s.Waiting)
		}
		close(d.gate)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		var whole, names int
		for _, x := range d.exchanges(t) {
			switch x.Outcome {
			case fixtures.OutcomeComplete:
				whole++
			case fixtures.OutcomeDropped:
				names++
				if len(x.Request.Body.Bytes)+len(x.Response.Body.Bytes) != 0 || x.Request.Target == "" || x.Error == "" {
					t.Errorf("name of a dropped exchange = %+v, want its head, a reason and no bodies", x)
				}
			}
		}
		if whole != 11 || names != 10 {
			t.Errorf("in the file: %d whole and %d names, want 11 and 10", whole, names)
		}
		m := d.manifests[len(d.manifests)-1]
		if m.Counts.Exchanges != 21 || m.Counts.Dropped != 89 {
			t.Errorf("manifest counts %d and %d dropped, want 21 lines and 89", m.Counts.Exchanges, m.Counts.Dropped)
		}
		wantEmpty(t, r)
	})
}

func TestBudgetBoundsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 1 << 20
		d := &memory{gate: make(chan struct{})}
		var told []Reason
		r, stop := start(t, d, Options{Budget: limit, BodyLimit: 64 << 10, OnLoss: func(why Reason) { told = append(told, why) }})
		piece := make([]byte, 16<<10)
		var tapes []*Tape
		for i := range 40 { // 40 times 96 KiB: some spilled, all too much
			x := sample(i + 1)
			tape := r.Begin(x)
			for range 6 {
				tape.ResponseBody(piece)
				if held := r.Stats().Held; held > limit {
					t.Fatalf("held = %d, want at most %d", held, limit)
				}
			}
			tapes = append(tapes, tape)
		}
		lost := 0
		for i, tape := range tapes {
			tape.Done(sample(i + 1))
			if tape.why() == LostBudget {
				lost++
			}
		}
		if lost == 0 || lost == len(tapes) || r.Stats().Dropped[LostBudget] != uint64(lost) {
			t.Errorf("lost = %d of %d, stats %v, want some and the same number", lost, len(tapes), r.Stats().Dropped)
		}
		close(d.gate)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if len(told) != 1 || told[0] != LostBudget {
			t.Errorf("OnLoss was told %q, want %q once", told, LostBudget)
		}
		wantEmpty(t, r)
		if d.open != 0 {
			t.Errorf("body files left open = %d, want 0", d.open)
		}
		if got := len(d.exchanges(t)); got != len(tapes) {
			t.Errorf("lines = %d, want %d: the lost are named", got, len(tapes))
		}
	})
}

func TestLargeBodiesGoToFiles(t *testing.T) {
	d := &memory{}
	r, stop := start(t, d, Options{BodyLimit: 1000, BinaryLimit: 100})
	text := strings.Repeat("0123456789", 20_000)
	for _, step := range []int{1, 999, 1001, 70_000, len(text)} {
		x := sample(step)
		tape := r.Begin(x)
		for rest := []byte(text); len(rest) > 0; rest = rest[min(step, len(rest)):] {
			n := min(step, len(rest))
			tape.ResponseBody(rest[:n])
			x.Response.Body.Frames = append(x.Response.Body.Frames, fixtures.Frame{Size: n})
		}
		tape.Done(x)
	}
	binary := bytes.Repeat([]byte{0xff, 0}, 51)
	record(r, sample(2), string(binary), string(binary[:100]))
	record(r, sample(3), strings.Repeat("t", 1000), "")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	xs := d.exchanges(t)
	for _, x := range xs[:5] {
		b := x.Response.Body
		if string(d.bodies[b.File]) != text || b.Bytes != nil || b.Size != int64(len(text)) {
			t.Errorf("body in steps of %d = file %q with %d bytes, want all %d", x.ID, b.File, len(d.bodies[b.File]), len(text))
		}
		if len(b.Frames) == 0 {
			t.Errorf("body in steps of %d lost its frames", x.ID)
		}
		if want := []string{"response.body.kind=text/plain"}; fmt.Sprint(x.Redacted) != fmt.Sprint(want) {
			t.Errorf("redacted in steps of %d = %q, want %q: what the response's head says", x.ID, x.Redacted, want)
		}
	}
	if x := xs[5]; !bytes.Equal(d.bodies[x.Request.Body.File], binary) || !bytes.Equal(x.Response.Body.Bytes, binary[:100]) {
		t.Errorf("binary bodies = %q and %d bytes inline, want a file above 100 bytes", x.Request.Body.File, len(x.Response.Body.Bytes))
	}
	if x := xs[6]; len(x.Request.Body.Bytes) != 1000 {
		t.Errorf("text of 1000 bytes = %d inline, want all of it", len(x.Request.Body.Bytes))
	}
	wantEmpty(t, r)
}

func TestRepeatedBinaryBodyIsStoredOnce(t *testing.T) {
	d := &memory{}
	r, stop := start(t, d, Options{BinaryLimit: 10})
	image := strings.Repeat("\xff", 100)
	for i := range 5 {
		record(r, sample(i+1), "", image)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if d.commits != 1 {
		t.Errorf("files written for one image five times = %d, want 1", d.commits)
	}
	for _, x := range d.exchanges(t) {
		if b := x.Response.Body; string(d.bodies[b.File]) != image || b.Size != 100 {
			t.Errorf("exchange %d names %q of %d bytes, want the image", x.ID, b.File, b.Size)
		}
	}
}

func TestUnfinishedExchangesAreCountedAndCleanedUp(t *testing.T) {
	d := &memory{}
	r, stop := start(t, d, Options{BodyLimit: 100})
	x := sample(1)
	tape := r.Begin(x)
	tape.ResponseBody(make([]byte, 200_000))
	tape.RequestBody([]byte("held in memory"))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if s := r.Stats(); s.Dropped[LostUnfinished] != 1 {
		t.Errorf("dropped = %v, want 1 unfinished", s.Dropped)
	}
	if d.open != 0 {
		t.Errorf("body files left open = %d, want 0", d.open)
	}
	tape.ResponseBody(make([]byte, 200_000))
	tape.Done(x) // late
	if late := r.Begin(x); late != nil {
		t.Error("Begin after the end gave a tape, want nil")
	}
	if s := r.Stats(); s.Dropped[LostUnfinished] != 2 {
		t.Errorf("dropped = %v, want 2 unfinished", s.Dropped)
	}
	wantEmpty(t, r)
}

func TestFullDiskStopsTheRecordingOnly(t *testing.T) {
	for _, where := range []string{"lines", "bodies"} {
		synctest.Test(t, func(t *testing.T) {
			d := &memory{}
			var told []error
			r, stop := start(t, d, Options{BodyLimit: 100, OnError: func(err error) { told = append(told, err) }})
			record(r, sample(1), "", "kept")
			synctest.Wait()
			d.failWrite, d.failBody = where == "lines", where == "bodies"
			open := r.Begin(sample(2))
			open.ResponseBody([]byte("under way"))
			record(r, sample(3), "", strings.Repeat("x", 200))
			time.Sleep(gatherFor)
			synctest.Wait()
			open.Done(sample(2))
			if tape := r.Begin(sample(4)); tape != nil {
				t.Errorf("%s: Begin after the failure gave a tape, want nil", where)
			}
			err := stop()
			if !errors.Is(err, errFull) {
				t.Errorf("%s: Run() = %v, want %v", where, err, errFull)
			}
			if len(told) != 1 || !errors.Is(told[0], errFull) {
				t.Errorf("%s: OnError was told %v, want %v once", where, told, errFull)
			}
			if s := r.Stats(); s.Recorded != 1 || s.Dropped[LostDisk] != 3 {
				t.Errorf("%s: stats = %+v, want 1 recorded and 3 lost to the disk", where, s)
			}
			if got := len(d.exchanges(t)); got != 1 {
				t.Errorf("%s: lines = %d, want 1", where, got)
			}
			m := d.manifests[len(d.manifests)-1]
			if !strings.Contains(m.CutShort, errFull.Error()) || m.Counts.Dropped != 3 {
				t.Errorf("%s: manifest says %q and %d dropped, want the error and 3", where, m.CutShort, m.Counts.Dropped)
			}
			wantEmpty(t, r)
		})
	}
}

func TestFailedSyncStopsTheRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &memory{failSync: true}
		r, stop := start(t, d, Options{})
		record(r, sample(1), "", "x")
		time.Sleep(time.Second)
		if tape := r.Begin(sample(2)); tape != nil {
			t.Error("Begin after a failed sync gave a tape, want nil")
		}
		if err := stop(); !errors.Is(err, errFull) {
			t.Errorf("Run() = %v, want %v", err, errFull)
		}
	})
}

// A sync that takes long holds up neither the writer nor a second sync for good.
func TestLongSyncDoesNotHoldUpLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		syncs := 0
		d := &memory{onSync: func() { syncs++; time.Sleep(3 * time.Second) }}
		r, stop := start(t, d, Options{})
		for i := range 40 { // for 4 s
			record(r, sample(i+1), "", "x")
			synctest.Wait()
			if got := len(d.exchanges(t)); got != i+1 {
				t.Fatalf("lines after exchange %d = %d, want all", i+1, got)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if syncs != 2 {
			t.Errorf("syncs begun in 4s = %d, want 2: at 0.5s and at 3.5s", syncs)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSyncsWhileDirtyOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var syncs []time.Duration
		d := &memory{onSync: func() { syncs = append(syncs, time.Since(begun)) }}
		r, stop := start(t, d, Options{SyncEvery: 500 * time.Millisecond})
		for i := range 9 { // at 0, 100, ... 800 ms
			record(r, sample(i+1), "", "x")
			synctest.Wait()
			if got := len(d.exchanges(t)); got != i+1 {
				t.Fatalf("lines after exchange %d = %d, want all: an idle writer flushes", i+1, got)
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Hour)
		record(r, sample(10), "", "x")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		// At 500 ms the exchange of that moment may come before or after.
		if len(syncs) != 3 || syncs[0] != 500*time.Millisecond || syncs[1] < time.Second || syncs[1] > 1100*time.Millisecond ||
			syncs[2] != time.Hour+900*time.Millisecond {
			t.Errorf("syncs at %v, want 500ms, 1s or 1.1s, and at the end", syncs)
		}
	})
}

// A recording that is killed must still say that it had dropped something.
func TestManifestTellsOfDropsWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &memory{}
		r, stop := start(t, d, Options{Budget: 64 << 10})
		record(r, sample(1), "", strings.Repeat("x", 100_000))
		for i := range 20 {
			time.Sleep(time.Second)
			record(r, sample(i+2), "", "x")
		}
		synctest.Wait()
		if len(d.manifests) != 1 || d.manifests[0].Counts.Dropped != 1 || d.manifests[0].State != cassette.StateRecording {
			t.Errorf("manifests while running = %+v, want one that tells of 1 dropped", d.manifests)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	d := &memory{}
	r, stop := start(t, d, Options{Budget: 4 << 20, BodyLimit: 8 << 10, Queue: 100})
	var wg sync.WaitGroup
	const workers, each = 8, 200
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				x := sample(w*each + i + 1)
				tape := r.Begin(x)
				var both sync.WaitGroup
				both.Go(func() { tape.RequestBody(make([]byte, i*100)) })
				both.Go(func() {
					for range i % 7 {
						tape.ResponseBody(make([]byte, 3000))
					}
				})
				both.Wait()
				tape.Done(x)
				_ = x.Request.Header.Get("Host") // reading stays allowed
			}
		})
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, r)
	s := r.Stats()
	sum := s.Recorded
	for _, n := range s.Dropped {
		sum += n
	}
	if sum != workers*each {
		t.Errorf("recorded and dropped = %d, want %d", sum, workers*each)
	}
	seen := map[uint64]bool{}
	for _, x := range d.exchanges(t) {
		if seen[x.ID] {
			t.Errorf("exchange %d is there twice", x.ID)
		}
		seen[x.ID] = true
	}
	if d.open != 0 {
		t.Errorf("body files left open = %d, want 0", d.open)
	}
}
