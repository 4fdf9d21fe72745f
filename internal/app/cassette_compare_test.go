package app

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
)

// tapeOf writes exchanges as a cassette and opens it.
func tapeOf(t *testing.T, list ...fixtures.Exchange) *cassette.Cassette {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.ndjson")
	var data []byte
	for i := range list {
		var err error
		if data, err = cassette.EncodeExchange(data, &list[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := cassette.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// seenAt is an exchange that was answered after ttfb.
func seenAt(id uint64, target, body string, ttfb time.Duration) fixtures.Exchange {
	return fixtures.Exchange{
		ID: id, At: time.Unix(int64(id), 0),
		Request:  fixtures.Request{Proto: "HTTP/1.1", Method: "GET", Scheme: "http", Host: "api.test", Target: target},
		Response: fixtures.Response{Proto: "HTTP/1.1", Status: 200, Body: fixtures.Body{Bytes: []byte(body), Size: int64(len(body))}},
		Times:    fixtures.Times{RequestRead: time.Millisecond, FirstByte: time.Millisecond + ttfb, End: 2*time.Millisecond + ttfb},
	}
}

func compareTapes(t *testing.T, a, b *cassette.Cassette) *Comparison {
	t.Helper()
	c, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompareTiming(t *testing.T) {
	draw := func(seed uint64, n int, shift time.Duration) []fixtures.Exchange {
		r := rand.New(rand.NewPCG(seed, 0))
		var list []fixtures.Exchange
		for i := range n {
			list = append(list, seenAt(uint64(i+1), "/a", "x", shift+50*time.Millisecond+time.Duration(10e6*r.NormFloat64())))
		}
		return list
	}
	recording := tapeOf(t, draw(1, 2000, 0)...)
	for _, c := range []struct {
		name    string
		replay  []fixtures.Exchange
		verdict string
	}{
		{"the same times", draw(1, 2000, 0), TimingOK},
		{"other draws of the same", draw(2, 2000, 0), TimingOK},
		{"a little late", draw(1, 2000, 100*time.Microsecond), TimingOK},
		{"late", draw(1, 2000, 5*time.Millisecond), TimingDiffers},
		{"too few", draw(1, FewestSamples-1, 0), TimingTooFew},
	} {
		got := compareTapes(t, recording, tapeOf(t, c.replay...)).Operations[0].TTFB
		if got.Verdict != c.verdict {
			t.Errorf("%s: verdict = %q (KS %.3f, bound %.3f), want %q", c.name, got.Verdict, got.KS, got.Bound, c.verdict)
		}
	}
	got := compareTapes(t, recording, tapeOf(t, draw(1, 2000, 5*time.Millisecond)...)).Operations[0].TTFB
	if got.P50Error < 0.09 || got.P50Error > 0.11 {
		t.Errorf("p50 error of 5ms on 50ms = %v, want about 0.1", got.P50Error)
	}
	if got.Wasserstein < 0.09 || got.Wasserstein > 0.11 {
		t.Errorf("Wasserstein over mean of 5ms on 50ms = %v, want about 0.1", got.Wasserstein)
	}
}

func TestCompareAnswers(t *testing.T) {
	a := tapeOf(t, seenAt(1, "/p?n=1", "one", 0), seenAt(2, "/p?n=2", "two", 0), seenAt(3, "/p?n=1", "one again", 0))
	// Another order among different requests is none of the answers' business.
	same := tapeOf(t, seenAt(1, "/p?n=2", "two", 0), seenAt(2, "/p?n=1", "one", 0), seenAt(3, "/p?n=1", "one again", 0))
	if got := compareTapes(t, a, same).Answers; got.Equal != 3 || got.Compared != 3 || got.First != nil {
		t.Errorf("in another order: %+v, want 3 of 3 equal", got)
	}
	// Among equal requests the order counts.
	swapped := tapeOf(t, seenAt(1, "/p?n=1", "one again", 0), seenAt(2, "/p?n=2", "two", 0), seenAt(3, "/p?n=1", "one", 0))
	got := compareTapes(t, a, swapped)
	if got.Answers.Equal != 1 || !got.Differs {
		t.Errorf("answers swapped: %+v, want 1 of 3 equal", got.Answers)
	}
	if f := got.Answers.First; f == nil || f.Where != "body byte 3" || f.Want != "the end" || f.Got != `" again"` {
		t.Errorf("first difference = %+v, want byte 3: the end, \" again\"", f)
	}
	// A value that changes from call to call is paired by operation, a secret by its place.
	changed := tapeOf(t, seenAt(1, "/p?n=1", "one", 0), seenAt(2, "/p?n=7", "two", 0), seenAt(3, "/p?n=1", "one again", 0))
	if got := compareTapes(t, a, changed).Answers; got.Equal != 3 {
		t.Errorf("another query: %+v, want 3 of 3 equal", got)
	}
	x := tapeOf(t, seenAt(1, "/q?t=redacted-0001-0123456789abcdef", "1", 0), seenAt(2, "/q?t=x", "2", 0))
	y := tapeOf(t, seenAt(1, "/q?t=x", "2", 0), seenAt(2, "/q?t=redacted-0002-fedcba9876543210", "1", 0))
	if got := compareTapes(t, x, y).Answers; got.Equal != 2 {
		t.Errorf("another salt: %+v, want 2 of 2 equal", got)
	}
	fewer := compareTapes(t, a, tapeOf(t, seenAt(1, "/p?n=1", "one", 0), seenAt(2, "/other", "", 0)))
	if w := fewer.Answers; w.OnlyRecording != 2 || w.OnlyReplay != 1 || !fewer.Differs {
		t.Errorf("missing answers: %+v, want 2 only in the recording and 1 only in the replay", w)
	}
}

func TestCompareHosts(t *testing.T) {
	x := seenAt(1, "/a", "1", 0)
	y := x
	y.Request.Host = "127.0.0.1:9001"
	if c := compareTapes(t, tapeOf(t, x), tapeOf(t, y)); !c.SameHost || c.Answers.Equal != 1 || c.Operations[0].Operation != "GET api.test/a" {
		t.Errorf("one host each: %+v, want them taken for the same", c)
	}
	z := x
	z.ID, z.Request.Host = 2, "other.test"
	if c := compareTapes(t, tapeOf(t, x, z), tapeOf(t, y)); c.SameHost || c.Answers.Compared != 0 {
		t.Errorf("two hosts and one: %+v, want no counterparts", c)
	}
	if c := compareTapes(t, tapeOf(t), tapeOf(t)); c.Differs || len(c.Operations) != 0 {
		t.Errorf("two empty cassettes: %+v, want no difference", c)
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", 950: "950ns", 1500: "1.50µs", 41_234_000: "41.2ms", 412_340_000: "412ms", 3 * time.Second: "3.00s", -1500: "-1.50µs",
	} {
		if got := Seconds(d).String(); got != want {
			t.Errorf("Seconds(%d) = %q, want %q", d, got, want)
		}
	}
	if got, err := Seconds(1500 * time.Microsecond).MarshalJSON(); err != nil || string(got) != "0.0015" {
		t.Errorf("JSON of 1.5ms = %s, %v, want 0.0015", got, err)
	}
}

func TestPrintable(t *testing.T) {
	// What a server sent must not steer the terminal of who looks at it.
	if got, want := Printable("a\x1b[2J\u009bé\n"), `a\x1b[2J\x9bé\x0a`; got != want {
		t.Errorf("Printable = %q, want %q", got, want)
	}
}

func TestShowExchange(t *testing.T) {
	x := seenAt(7, "/a", "\x1b]0;owned\x07", time.Millisecond)
	x.Request.Header = fixtures.Header{{Name: "X-Odd", Value: "a\x1bb"}}
	var b strings.Builder
	if err := ShowExchange(&b, tapeOf(t, x), &x, false); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsRune(b.String(), '\x1b') {
		t.Errorf("control characters came through: %q", b.String())
	}
	for _, want := range []string{"GET /a HTTP/1.1\nX-Odd: a\\x1bb\n", "\nHTTP/1.1 200\n", "10 bytes: not text)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("ShowExchange lacks %q:\n%s", want, b.String())
		}
	}
}

func TestOperationOf(t *testing.T) {
	for target, want := range map[string]string{
		"/orders/17?x=1": "GET api.test/orders/{id}", "*": "GET api.test *",
	} {
		if got := operationOf(&fixtures.Request{Method: "GET", Host: "api.test", Target: target}); got != want {
			t.Errorf("OperationOf(%s) = %q, want %q", target, got, want)
		}
	}
}

func TestPairKeepsOrder(t *testing.T) {
	a := []seen{{id: 1, key: "k"}, {id: 2, key: "x"}, {id: 3, key: "k"}}
	b := []seen{{id: 11, key: "y"}, {id: 12, key: "k"}, {id: 13, key: "k"}}
	var got []uint64
	for _, p := range pair(a, b) {
		got = append(got, p[0].id, p[1].id)
	}
	if want := []uint64{1, 12, 2, 11, 3, 13}; !slices.Equal(got, want) {
		t.Errorf("pairs = %v, want %v", got, want)
	}
}
