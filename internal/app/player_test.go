package app

import (
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/match"
	"github.com/understudy-proxy/understudy/internal/timing/station"
	"github.com/understudy-proxy/understudy/proxy"
)

// byOperation demands a millisecond for operation 0, two for 1, and so on.
type byOperation struct{}

func (byOperation) Draw(operation, _ int, _ int64) time.Duration {
	return time.Duration(operation+1) * time.Millisecond
}

// An answer that belongs to a model's operation leads to its station; others to none, and
// asking costs no memory.
func TestAnswersLeadToTheirStation(t *testing.T) {
	b, err := match.NewBuilder(match.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	targets := []string{"/none", "/slow", "/slower", "/unknown"}
	for i, target := range targets {
		x := &fixtures.Exchange{ID: uint64(i + 1), Request: fixtures.Request{Proto: "HTTP/1.1", Method: "GET", Scheme: "http", Host: "a.test", Target: target},
			Response: fixtures.Response{Proto: "HTTP/1.1", Status: 200}}
		if err := b.Add("c", x, nil, match.Filing{Model: int32(i)}); err != nil {
			t.Fatal(err)
		}
	}
	recorded, err := match.NewPlayer(b.Build(), nil, match.Options{})
	if err != nil {
		t.Fatal(err)
	}
	live := station.NewLive(station.Station{Discipline: station.FIFO, Servers: 1}, byOperation{})
	p := &player{}
	p.now.Store(&cast{decks: []deck{{Player: recorded, entrances: []entrance{{live, 0}, {live, 1}}}}})
	at, due := time.Now(), time.Duration(0)
	for i, target := range targets {
		x := &proxy.Exchange{Exchange: fixtures.Exchange{Request: fixtures.Request{Proto: "HTTP/1.1", Method: "GET", Scheme: "http", Host: "a.test", Target: target}}}
		a, err := p.Respond(x)
		if err != nil {
			t.Fatal(err)
		}
		if want := i == 1 || i == 2; (a.Entrance != nil) != want {
			t.Fatalf("%s: entrance %v", target, a.Entrance)
		}
		if a.Entrance == nil {
			continue
		}
		due += time.Duration(i) * time.Millisecond
		turn := a.Entrance.Enter(at, 0, 0, 1)
		if got, again := turn.Due(at); got.Sub(at) != due || !again.IsZero() {
			t.Errorf("%s is due after %v, want %v", target, got.Sub(at), due)
		}
		turn.Leave(at)
		if n := testing.AllocsPerRun(100, func() { _, _ = p.Respond(x) }); n != 0 {
			t.Errorf("%s: %v allocations", target, n)
		}
	}
	if n := live.InFlight(); n != 0 {
		t.Errorf("%d in flight, want 0", n)
	}
}
