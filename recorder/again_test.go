package recorder

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

// Bodies that come again and again, some with secrets and some with what is one only in
// some exchanges, stand in the cassette as if each had come alone.
func TestAgainChangesNothing(t *testing.T) {
	salt := redact.NewSalt()
	red, err := redact.New(redact.Config{}, salt)
	if err != nil {
		t.Fatal(err)
	}
	const token = "tok-4f9c1d2e8ab04c55"
	long := strings.Repeat(`{"sku":"a-1","n":3},`, 20)
	bodies := []string{
		`{"items":[` + long + `1]}`,
		`{"items":[` + long + `2]}`,
		`{"items":[` + long + `{"password":"hunter2hunter2"}]}`,
		`{"items":[` + long + `"` + token + `"]}`,
		`<p>` + strings.Repeat("Lorem ipsum \"dolor\"\n", 20) + token,
		`name=value&` + strings.Repeat("other=something&", 20) + `password=hunter2hunter2`,
		strings.Repeat("\x00\x01\xff", 100),
		strings.Repeat("\x00\x01\xff", 3000), // to a file
		strings.Repeat("too large to be known ", 1000),
		"short",
		"",
	}
	kinds := []string{"", "application/json", "text/plain", "text/html", "application/octet-stream", "application/x-www-form-urlencoded"}
	rnd := rand.New(rand.NewPCG(1, 26))
	x := func(n int) *fixtures.Exchange {
		x := sample(n)
		x.Response.Header = fixtures.Header{{Name: "Content-Type", Value: kinds[rnd.IntN(len(kinds))]}}
		if rnd.IntN(3) == 0 {
			x.Request.Header.Add("Authorization", "Bearer "+token)
		}
		if rnd.IntN(10) == 0 {
			x.Response.Header.Add("Content-Encoding", []string{"gzip", "unheard-of"}[rnd.IntN(2)])
		}
		return x
	}
	d := &memory{}
	o := Options{}.withDefaults()
	r := newRecorder(d, cassette.NewManifest("test", time.Unix(1e9, 0), o.Redaction), o)
	r.red = red
	stop := run(r)
	var want []fixtures.Exchange
	for n := 1; n <= 3000; n++ {
		x, body := x(n), []byte(bodies[rnd.IntN(len(bodies))])
		tape := r.Begin(x)
		tape.ResponseBody(body)
		tape.Done(x)
		if lost := tape.why(); lost != "" {
			t.Fatalf("exchange %d is lost: %s", n, lost)
		}
		alone := *x
		alone.Request.Header, alone.Response.Header = x.Request.Header.Clone(), x.Response.Header.Clone()
		alone.Response.Body.Bytes, alone.Response.Body.Size = bytes.Clone(body), int64(len(body))
		red.Exchange(&alone)
		want = append(want, alone)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	got := d.exchanges(t)
	if len(got) != len(want) {
		t.Fatalf("exchanges = %d, want %d", len(got), len(want))
	}
	known := 0
	for i := range got {
		if b := &got[i].Response.Body; b.File != "" {
			b.Bytes, b.File = d.bodies[b.File], ""
			got[i].Redacted = nil // what the disk of the test says
			want[i].Redacted = nil
		} else if len(b.Bytes) > leastAgain {
			known++
		}
		g, err1 := cassette.EncodeExchange(nil, &got[i])
		w, err2 := cassette.EncodeExchange(nil, &want[i])
		if err1 != nil || err2 != nil || !bytes.Equal(g, w) {
			t.Fatalf("exchange %d = %s, %v, want %s, %v", i+1, g, err1, w, err2)
		}
	}
	if known == 0 {
		t.Error("no body could be known again")
	}
	wantEmpty(t, r)
}

// What comes once costs no memory; what comes twice is known, within its bounds.
func TestAgainLearnsAtTheSecond(t *testing.T) {
	d := &memory{}
	r, stop := start(t, d, Options{})
	g := &again{budget: &r.budget, seed: maphash.MakeSeed()}
	answer := func(body string) *fixtures.Response {
		return &fixtures.Response{Header: fixtures.Header{{Name: "Content-Type", Value: "text/plain"}}, Body: fixtures.Body{Bytes: []byte(body)}}
	}
	see := func(body string) bool {
		p := answer(body)
		s := g.find(p)
		g.learn(&s, &p.Body)
		return s.known()
	}
	body := strings.Repeat("a body ", 100)
	for i, want := range []bool{false, false, true, true} {
		if got := see(body); got != want {
			t.Errorf("known at sight %d = %v, want %v", i+1, got, want)
		}
	}
	for n := range 10_000 {
		see(fmt.Sprint(body, n))
	}
	if held := r.Stats().Held; held == 0 || held > 4*int64(len(body)) {
		t.Errorf("held = %d, want what one body takes", held)
	}
	if p := answer(body); func() bool { s := g.find(p); p.Body.Bytes = bytes.Clone(p.Body.Bytes); return s.line(&p.Body) != nil }() {
		t.Error("a body that was replaced is written as it came")
	}
	for n := range 1000 {
		see(fmt.Sprint(strings.Repeat(body, 10), n))
		see(fmt.Sprint(strings.Repeat(body, 10), n))
	}
	if held, most := r.Stats().Held, int64(againSlots*mostAgain*3); held > most {
		t.Errorf("held = %d, want at most %d", held, most)
	}
	g.empty()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, r)
}
