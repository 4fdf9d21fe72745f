package recorder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

func TestMain(m *testing.M) {
	recordUntilKilled() // in a child of TestKill; does not return there
	goleak.VerifyTestMain(m)
}

var errFull = errors.New("no space left on device")

// memory is a disk in memory that can be slow and can fail.
type memory struct {
	gate   chan struct{} // where not nil, each operation but sync takes one token, or passes once it is closed
	onSync func()

	mu        sync.Mutex
	lines     bytes.Buffer
	bodies    map[string][]byte
	commits   int
	open      int // spools neither committed nor aborted
	manifests []cassette.Manifest
	closed    bool
	discarded bool
	failWrite bool
	failBody  bool
	failSync  bool
}

func (d *memory) wait() {
	if d.gate != nil {
		<-d.gate
	}
}

func (d *memory) write(p []byte) error {
	d.wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failWrite {
		return errFull
	}
	d.lines.Write(p)
	return nil
}

func (d *memory) sync() error {
	if d.onSync != nil {
		d.onSync()
	}
	if d.failSync {
		return errFull
	}
	return nil
}

func (d *memory) manifest(m *cassette.Manifest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.manifests = append(d.manifests, *m)
	return nil
}

func (d *memory) discard() error { d.discarded = true; return nil }

func (d *memory) close() error { d.closed = true; return nil }

func (d *memory) body(h fixtures.Header, _ *redact.Redactor) (spool, error) {
	d.wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failBody {
		return nil, errFull
	}
	d.open++
	return &memorySpool{d: d, kind: h.Get("Content-Type")}, nil
}

type memorySpool struct {
	d    *memory
	kind string
	data []byte
	done bool
}

func (s *memorySpool) Write(p []byte) (int, error) {
	s.data = append(s.data, p...)
	return len(p), nil
}

func (s *memorySpool) Commit(b *fixtures.Body, _ func(string) bool) ([]string, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.d.open--
	s.done = true
	b.File = fmt.Sprintf("%x", sha256.Sum256(s.data))
	s.d.commits++
	b.Size = int64(len(s.data))
	if s.d.bodies == nil {
		s.d.bodies = map[string][]byte{}
	}
	s.d.bodies[b.File] = s.data
	return []string{"kind=" + s.kind}, nil
}

func (s *memorySpool) Abort() error {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if !s.done {
		s.d.open--
		s.done = true
	}
	return nil
}

// exchanges decodes what is in the file.
func (d *memory) exchanges(t testing.TB) []fixtures.Exchange {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	var xs []fixtures.Exchange
	for line := range bytes.Lines(d.lines.Bytes()) {
		x, err := cassette.DecodeExchange(line)
		if err != nil {
			t.Fatalf("line %d: %v", len(xs)+1, err)
		}
		xs = append(xs, x)
	}
	return xs
}

// start runs a recorder on d; stop ends it and returns Run's error.
func start(t testing.TB, d disk, o Options) (r *Recorder, stop func() error) {
	t.Helper()
	o = o.withDefaults()
	o.Redaction.Off = true
	r = newRecorder(d, cassette.NewManifest("test", time.Unix(1e9, 0), o.Redaction), o)
	return r, run(r)
}

func run(r *Recorder) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- r.Run(ctx) }()
	return sync.OnceValue(func() error {
		cancel()
		return <-result
	})
}

// sample is a plain exchange; n tells it from others.
func sample(n int) *fixtures.Exchange {
	return &fixtures.Exchange{
		ID: uint64(n), Client: "127.0.0.1", At: time.Unix(1e9+int64(n), 0).UTC(),
		Request: fixtures.Request{Proto: "HTTP/1.1", Method: "POST", Scheme: "http", Host: "api.test",
			Target: fmt.Sprintf("/orders/%d", n), Header: fixtures.Header{{Name: "Host", Value: "api.test"}}},
		Response: fixtures.Response{Proto: "HTTP/1.1", Status: 200,
			Header: fixtures.Header{{Name: "Content-Type", Value: "text/plain"}}},
		Times: fixtures.Times{FirstByte: 5 * time.Millisecond, End: 6 * time.Millisecond},
	}
}

// record passes a whole exchange through r.
func record(r *Recorder, x *fixtures.Exchange, request, response string) *Tape {
	t := r.Begin(x)
	t.RequestBody([]byte(request))
	t.ResponseBody([]byte(response))
	t.Done(x)
	return t
}

func wantEmpty(t testing.TB, r *Recorder) {
	t.Helper()
	if s := r.Stats(); s.Held != 0 || s.Open != 0 || s.Waiting != 0 {
		t.Errorf("at the end held = %d, open = %d, waiting = %d, want 0 of each", s.Held, s.Open, s.Waiting)
	}
	rec := r.o.Ledger.Snapshot().Recording
	sum := rec.Recorded + rec.Pending
	for _, n := range rec.Lost {
		sum += n
	}
	if sum != rec.Begun || rec.Pending != 0 {
		t.Errorf("ledger of recordings = %+v, want it to add up, and nothing pending", rec)
	}
}

// nowhere is a disk that forgets.
type nowhere struct{}

func (nowhere) write([]byte) error                                         { return nil }
func (nowhere) sync() error                                                { return nil }
func (nowhere) manifest(*cassette.Manifest) error                          { return nil }
func (nowhere) discard() error                                             { return nil }
func (nowhere) close() error                                               { return nil }
func (nowhere) body(fixtures.Header, *redact.Redactor) (spool, error)      { return nowhere{}, nil }
func (nowhere) Write(p []byte) (int, error)                                { return len(p), nil }
func (nowhere) Commit(*fixtures.Body, func(string) bool) ([]string, error) { return nil, nil }
func (nowhere) Abort() error                                               { return nil }

// why says why the recording of this exchange was given up; "" while it was not.
func (t *Tape) why() Reason {
	if t == nil {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}
