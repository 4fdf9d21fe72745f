package recorder

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

func open(t *testing.T, dir string, o Options) *Recorder {
	t.Helper()
	r, err := New(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// load reads the cassette in dir.
func load(t *testing.T, dir string) (*cassette.Cassette, []*fixtures.Exchange) {
	t.Helper()
	c, err := cassette.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var xs []*fixtures.Exchange
	for x, err := range c.Exchanges() {
		if err != nil {
			t.Fatal(err)
		}
		xs = append(xs, x)
	}
	return c, xs
}

// A run that comes to nothing leaves nothing; what was there before stays.
func TestDiscard(t *testing.T) {
	for _, test := range []struct {
		name    string
		there   string // a directory or, with a dot in its name, a file that is there before
		dir     string
		records bool // something is recorded
		appends bool // to a cassette with one exchange
		stays   bool
	}{
		{name: "new", dir: "tape"},
		{name: "in a new directory", dir: "cassettes/today/tape"},
		{name: "in an empty directory", there: "tape", dir: "tape"},
		{name: "beside stubs", there: "tape/stubs/a.yaml", dir: "tape"},
		{name: "in a directory with more", there: "cassettes/notes.txt", dir: "cassettes/tape"},
		{name: "with an exchange", dir: "tape", records: true, stays: true},
		{name: "appended to", dir: "tape", appends: true, stays: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			there := filepath.Join(root, test.there)
			if filepath.Ext(there) != "" {
				if err := errors.Join(os.MkdirAll(filepath.Dir(there), 0o700), os.WriteFile(there, nil, 0o600)); err != nil {
					t.Fatal(err)
				}
			} else if err := os.MkdirAll(there, 0o700); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(root, test.dir)
			if test.appends {
				r := open(t, dir, Options{})
				stop := run(r)
				record(r, sample(1), "q", "a")
				if err := stop(); err != nil {
					t.Fatal(err)
				}
			}
			before := tree(t, root)
			r := open(t, dir, Options{Append: test.appends})
			stop := run(r)
			if test.records {
				record(r, sample(1), "q", "a")
			}
			if got := r.Discard(); got == test.stays {
				t.Errorf("Discard = %t, want %t", got, !test.stays)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			if test.stays {
				if _, xs := load(t, dir); len(xs) != 1 {
					t.Errorf("%d exchanges are there, want one", len(xs))
				}
				return
			}
			if after := tree(t, root); !slices.Equal(after, before) {
				t.Errorf("left are %q, want %q", after, before)
			}
		})
	}
}

// The manifest of a recording without exchanges tells of what was not captured.
func TestDiscardKeepsWhatTells(t *testing.T) {
	dir, ledger := filepath.Join(t.TempDir(), "tape"), NewLedger(0)
	r := open(t, dir, Options{Ledger: ledger})
	stop := run(r)
	ledger.ConnOpened()
	ledger.ConnClosed(Connection{Host: "api.test", Protocol: "tls", Fate: Passed, Reason: "pinned"})
	if r.Discard() {
		t.Error("Discard = true after a connection, want false")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if c, _ := load(t, dir); len(c.Manifest.NotCaptured) != 1 {
		t.Errorf("not captured: %v, want the connection", c.Manifest.NotCaptured)
	}
}

// Where somebody moved the cassette away, what is in its place now is not ours.
func TestDiscardRemovesItsOwn(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "tape")
	r := open(t, dir, Options{})
	if err := os.Rename(dir, filepath.Join(root, "moved")); err != nil {
		t.Fatal(err)
	}
	other := open(t, dir, Options{})
	stopOther, stop := run(other), run(r)
	record(other, sample(1), "q", "a")
	r.Discard()
	if err := errors.Join(stop(), stopOther()); err != nil {
		t.Error(err)
	}
	if _, xs := load(t, dir); len(xs) != 1 {
		t.Errorf("%d exchanges are there, want one", len(xs))
	}
}

// What the writer has taken, and not yet written, has been recorded.
func TestDiscardWhileItIsWritten(t *testing.T) {
	d := &memory{gate: make(chan struct{})}
	r := newRecorder(d, &cassette.Manifest{}, Options{}.withDefaults())
	r.fresh = true
	stop := run(r)
	record(r, sample(1), "q", "a")
	for r.Stats().Waiting > 0 {
		time.Sleep(time.Millisecond)
	}
	discards := r.Discard()
	close(d.gate)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if discards || d.discarded {
		t.Errorf("Discard = %t, and what was recorded is gone %t, want false", discards, d.discarded)
	}
}

// tree lists what is under root.
func tree(t *testing.T, root string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// What somebody removed while it was recorded is told of, although a body that came later
// made the directory anew.
func TestCassetteRemovedMeanwhile(t *testing.T) {
	for _, big := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "cassette")
		r := open(t, dir, Options{})
		stop := run(r)
		record(r, sample(1), "q", "small")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if big {
			record(r, sample(2), "", strings.Repeat("line of text\n", 100_000))
		}
		if err := stop(); err == nil || !strings.Contains(err.Error(), "exchanges.ndjson was removed or replaced") {
			t.Errorf("with a large body %t: the recording ends with %v, want that its file was removed", big, err)
		}
		if _, err := os.Stat(filepath.Join(dir, cassette.ManifestFile)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("with a large body %t: a manifest tells of exchanges that are gone (%v)", big, err)
		}
	}
}

func TestCassetteOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "cassette")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := open(t, dir, Options{Tool: "understudy test", Now: func() time.Time { return now }})
	c, _ := load(t, dir)
	if c.Manifest.State != cassette.StateRecording {
		t.Errorf("state while recording = %q, want %q", c.Manifest.State, cassette.StateRecording)
	}
	stop := run(r)
	big := bytes.Repeat([]byte("line of text\n"), 100_000)
	record(r, sample(1), "q", "small")
	record(r, sample(2), "", string(big))
	record(r, sample(3), strings.Repeat("\xff", 5000), "")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	c, xs := load(t, dir)
	if c.Manifest.State != cassette.StateComplete || c.Manifest.Counts.Exchanges != 3 || c.Manifest.Tool != "understudy test" || !c.Manifest.Ended.Equal(now) {
		t.Errorf("manifest = %+v, want it complete with 3 exchanges", c.Manifest)
	}
	if len(xs) != 3 || len(c.Warnings) != 0 {
		t.Fatalf("exchanges = %d with warnings %v, want 3 without", len(xs), c.Warnings)
	}
	for i, want := range [][]byte{[]byte("small"), big, nil} {
		body, err := c.OpenBody(&xs[i].Response.Body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		body.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("body of exchange %d = %d bytes, %v, want %d as sent", i+1, len(got), err, len(want))
		}
	}
	if xs[0].Response.Body.File != "" || xs[1].Response.Body.File == "" || xs[2].Request.Body.File == "" {
		t.Errorf("files = %q, %q, %q, want the large and the binary body in one", xs[0].Response.Body.File, xs[1].Response.Body.File, xs[2].Request.Body.File)
	}
	if findings, err := cassette.Verify(dir); err != nil || len(findings) > 0 {
		t.Errorf("Verify = %v, %v, want nothing amiss", findings, err)
	}
}

func TestAppendGoesOn(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	stop := run(r)
	record(r, sample(7), "", "first")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	before, _ := load(t, dir)
	if _, err := New(dir, Options{}); err == nil || !strings.Contains(err.Error(), "a cassette is there already") {
		t.Errorf("New over a cassette = %v, want a refusal", err)
	}
	if _, err := New(dir, Options{Append: true, Redaction: redact.Config{Off: true}}); err == nil || !strings.Contains(err.Error(), "redaction") {
		t.Errorf("New with another redaction = %v, want a refusal", err)
	}
	r = open(t, dir, Options{Append: true, Redaction: redact.Config{Headers: []string{"X-Pin"}}})
	if _, err := New(dir, Options{Append: true}); !errors.Is(err, cassette.ErrLocked) {
		t.Errorf("second recorder = %v, want %v", err, cassette.ErrLocked)
	}
	stop = run(r)
	record(r, sample(1), "", "second")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	after, xs := load(t, dir)
	if len(xs) != 2 || xs[0].ID != 7 || xs[1].ID != 8 || after.Manifest.Counts.Exchanges != 2 {
		t.Fatalf("after appending: %d exchanges, manifest %+v, want IDs 7 and 8", len(xs), after.Manifest.Counts)
	}
	if after.Manifest.Redaction.Salts[0] != before.Manifest.Redaction.Salts[0] || len(after.Manifest.Redaction.Config.Headers) != 1 {
		t.Errorf("redaction = %+v, want the first one's salt and the header added", after.Manifest.Redaction)
	}
}

func TestSomebodysDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "letters.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(dir, Options{}); err == nil || !strings.Contains(err.Error(), "letters.txt") {
		t.Errorf("New in a directory with letters = %v, want a refusal that names them", err)
	}
	if _, err := os.Stat(filepath.Join(dir, cassette.ManifestFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("manifest after the refusal: %v, want none", err)
	}
}

func TestSecretsNeverReachTheDisk(t *testing.T) {
	const secret = "correct-horse-battery"
	dir := filepath.Join(t.TempDir(), "c")
	r := open(t, dir, Options{BodyLimit: 64 << 10})
	clean := func(when string) {
		t.Helper()
		files := 0
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			files++
			data, err := os.ReadFile(path)
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s: %s holds the secret", when, e.Name())
			}
			return err
		})
		if err != nil || files < 2 {
			t.Fatalf("%s: looked into %d files: %v", when, files, err)
		}
	}
	auth := fixtures.Header{{Name: "Authorization", Value: "Bearer " + secret}, {Name: "Content-Type", Value: "application/json"}}
	json := `{"password":"` + secret + `","pad":"` + strings.Repeat("x", 200_000) + `","access_token":"` + secret + `"}`
	x := sample(1)
	x.Request.Header = auth
	x.Response.Header = fixtures.Header{{Name: "Content-Type", Value: "application/json"}, {Name: "Set-Cookie", Value: "sid=" + secret}}
	tape := r.Begin(x)
	tape.RequestBody([]byte(`{"password":"` + secret + `"}`))
	tape.ResponseBody([]byte(json[:150_000]))
	// The writer has not run yet; ended at once, it works off all there is,
	// and cleans up the body that never ends.
	lost := r.Begin(x)
	lost.ResponseBody([]byte(json))
	tape.ResponseBody([]byte(json[150_000:]))
	tape.Done(x)
	stop := run(r)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	clean("at the end")
	if x.Request.Header.Get("Authorization") != "Bearer "+secret {
		t.Error("redaction reached the pipeline's header, want it left alone")
	}
	_, xs := load(t, dir)
	if len(xs) != 1 || len(xs[0].Redacted) < 4 || xs[0].Response.Body.File == "" {
		t.Fatalf("exchanges = %+v, want one with four redactions and a body file", xs)
	}
}

// TestEchoesNeverReachTheDisk echoes secrets of a request's head and body in
// an answer without a type, which goes to a file piece by piece or at its end.
func TestEchoesNeverReachTheDisk(t *testing.T) {
	for _, pieces := range []int{1, 2, 50} {
		dir := filepath.Join(t.TempDir(), "c")
		r := open(t, dir, Options{BodyLimit: 64 << 10})
		x := sample(1)
		x.Request.Header = fixtures.Header{{Name: "Authorization", Value: "Bearer tok-in-the-head"}, {Name: "Content-Type", Value: "application/x-www-form-urlencoded"}}
		x.Response.Header = fixtures.Header{{Name: "X-Session-Token", Value: "tok-in-the-answer"}}
		tape := r.Begin(x)
		tape.RequestBody([]byte("hello=1&password=pw-in-the-body"))
		for range pieces {
			tape.ResponseBody([]byte(strings.Repeat("tok-in-the-head pw-in-the-body tok-in-the-answer ", 100_000/48/pieces)))
		}
		tape.Done(x)
		if err := run(r)(); err != nil {
			t.Fatal(err)
		}
		_, xs := load(t, dir)
		if len(xs) != 1 || xs[0].Response.Body.File == "" {
			t.Fatalf("in %d pieces: exchanges = %+v, want one with a body file", pieces, xs)
		}
		for _, name := range []string{cassette.ExchangesFile, cassette.BodyPath(xs[0].Response.Body.File)} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || bytes.Contains(data, []byte("-in-the-")) {
				t.Errorf("in %d pieces: %s holds a secret: %v", pieces, name, err)
			}
		}
	}
}
