package app

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/redact"
	"github.com/understudy-proxy/understudy/internal/admin"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/timing/station"
)

// recordedAt is the cassette of a dependency with four servers that take 20 ms each, 200 a
// second at most, as it was under these loads for ten seconds each.
func recordedAt(t *testing.T, rates ...float64) string {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 7))
	var seen []station.Visit
	var demands []time.Duration
	at := time.Duration(0)
	for i, rate := range rates {
		for end := time.Duration(i+1) * 10 * time.Second; at < end; {
			at += time.Duration(r.ExpFloat64() / rate * float64(time.Second))
			seen = append(seen, station.Visit{At: at})
			demands = append(demands, time.Duration(20e6*math.Exp(0.5*r.NormFloat64()-0.125)))
		}
	}
	dir := filepath.Join(t.TempDir(), "c")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var lines []byte
	began := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for i, v := range (&station.Station{Discipline: station.FIFO, Servers: 4}).Simulate(seen, demands) {
		const read = time.Millisecond
		x := seenAt(uint64(i+1), "/orders/17", "ok", v.First-v.At)
		x.At, x.Times.End = began.Add(v.At-read), x.Times.FirstByte
		var err error
		if lines, err = cassette.EncodeExchange(lines, &x); err != nil {
			t.Fatal(err)
		}
	}
	m := cassette.NewManifest("test", began, redact.Config{})
	m.State, m.Counts.Exchanges = cassette.StateComplete, uint64(len(seen))
	if err := os.WriteFile(filepath.Join(dir, cassette.ExchangesFile), lines, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cassette.WriteManifest(dir, m); err != nil {
		t.Fatal(err)
	}
	return dir
}

// modelParts are what a replay by models needs of a run.
func modelParts(of config.Timing) *parts {
	return &parts{c: &config.Config{Timing: of}, log: zap.NewNop(), seed: 3}
}

// stationsOf are the models of the cassette at dir, at work.
func stationsOf(t *testing.T, dir string) stations {
	t.Helper()
	c, err := OpenCassette(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := modelParts(config.TimingModel).makeStations(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A model that was fitted and written bears in a replay what the dependency did, and waits
// grow beyond that.
func TestModelHasTheCapacity(t *testing.T) {
	dir := recordedAt(t, 60, 120, 170)
	fit, err := FitModels(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	fitted := fit.Models
	if len(fitted) != 1 || fitted[0].Discipline == cassette.ByLoad || len(fitted[0].Levels) < 2 {
		t.Fatalf("fitted %+v, want one station and levels", fitted)
	}
	if c := fitted[0].Capacity; c < 160 || c > 240 {
		t.Errorf("capacity %.1f, want about 200", c)
	}
	s := stationsOf(t, dir)
	number := s.of(&fixtures.Exchange{Request: fixtures.Request{Method: "GET", Scheme: "http", Host: "api.test", Target: "/orders/99"}})
	if number != 1 || s.of(&fixtures.Exchange{Request: fixtures.Request{Method: "PUT", Host: "api.test", Target: "/orders/99"}}) != 0 {
		t.Fatalf("GET /orders/99 has model %d, PUT one, too, or not; want 1 and none", number)
	}
	// 600 at once: at 200 a second the last is answered after three seconds.
	const n = 600
	at := time.Now()
	turns := make([]fixtures.Turn, n)
	for i := range turns {
		turns[i] = s.entrances[number-1].Enter(at, 2, 0, 1)
	}
	last := time.Duration(0)
	for now, left := at, n; left > 0; now = now.Add(time.Millisecond) {
		for i, turn := range turns {
			if turn == nil {
				continue
			}
			if due, again := turn.Due(now); again.IsZero() && !due.After(now) {
				turn.Leave(now)
				turns[i] = nil
				left--
				last = max(last, due.Sub(at))
			}
		}
	}
	if rate := n / last.Seconds(); rate < 150 || rate > 250 {
		t.Errorf("600 at once are answered at %.1f a second, want about 200", rate)
	}
}

// What cannot be fitted is said, and drawn from what was recorded.
func TestModelOfTooFew(t *testing.T) {
	dir := recordedAt(t, 15)
	fit, err := FitModels(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	fitted := fit.Models
	f := fitted[0]
	if f.Discipline != cassette.ByLoad || f.Capacity != 0 || !strings.Contains(f.Why, "record") {
		t.Fatalf("fitted %+v, want no station, and what to record", f)
	}
	s := stationsOf(t, dir)
	at := time.Now()
	turn := s.entrances[0].Enter(at, 2, 0, 1)
	if due, again := turn.Due(at); !again.IsZero() || due.Sub(at) < time.Millisecond || due.Sub(at) > time.Second {
		t.Errorf("due after %v, want a recorded latency", due.Sub(at))
	}
	turn.Leave(at)
}

// A model at work is told of: what it is, and what goes on there.
func TestModelsAtWork(t *testing.T) {
	dir := recordedAt(t, 15)
	if _, err := FitModels(dir, false); err != nil {
		t.Fatal(err)
	}
	c, err := OpenCassette(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := modelParts(config.TimingModel)
	s, err := p.makeStations(c)
	if err != nil {
		t.Fatal(err)
	}
	tell := func() admin.Model {
		t.Helper()
		all := p.modelsNow()
		if len(all) != 1 {
			t.Fatalf("%d models are at work, want 1", len(all))
		}
		return all[0]
	}
	want := admin.Model{Cassette: dir, Operations: []string{"GET api.test/orders/{id}"}, Discipline: cassette.ByLoad}
	if got := tell(); !reflect.DeepEqual(got, want) {
		t.Errorf("at work is %+v, want %+v", got, want)
	}
	turn := s.entrances[0].Enter(time.Now(), 2, 0, 0)
	want.InFlight, want.InService = 1, 1
	if got := tell(); !reflect.DeepEqual(got, want) {
		t.Errorf("with a request at work is %+v, want %+v", got, want)
	}
	turn.Leave(time.Now())
	want.InFlight, want.InService, want.Served = 0, 0, 1
	if got := tell(); !reflect.DeepEqual(got, want) {
		t.Errorf("after it at work is %+v, want %+v", got, want)
	}
}

func TestModelsThatAreNotThere(t *testing.T) {
	dir := recordedAt(t, 15)
	open := func() *cassette.Cassette {
		c, err := OpenCassette(dir)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if s, err := modelParts(config.TimingRecorded).makeStations(open()); err != nil || s.entrances != nil {
		t.Errorf("--timing recorded sets up %v, %v, want nothing", s, err)
	}
	_, err := modelParts(config.TimingModel).makeStations(open())
	if err == nil || ExitCode(err) != ExitBadInput || !strings.Contains(err.Error(), "no timing models") {
		t.Errorf("a cassette without models: %v", err)
	}
	if fit, err := FitModels(dir, true); err != nil || len(fit.Models) != 1 || len(open().Manifest.Models) != 0 {
		t.Errorf("a dry run: %+v, %v, and %d models are written, want none", fit.Models, err, len(open().Manifest.Models))
	}
	m := *open().Manifest
	for _, also := range [][]string{nil, {operationIn(t, open())}} {
		m.Models = []cassette.Model{{Operations: append(also, "GET other.test/"), Discipline: "fifo", Servers: 1}}
		if err := cassette.WriteManifest(dir, &m); err != nil {
			t.Fatal(err)
		}
		if _, err = modelParts(config.TimingModel).makeStations(open()); err == nil || !strings.Contains(err.Error(), `no answers to "GET other.test/"`) {
			t.Errorf("a model of what was not recorded, beside %q: %v", also, err)
		}
	}
}

// operationIn names an operation of the cassette.
func operationIn(t *testing.T, c *cassette.Cassette) string {
	t.Helper()
	v, err := visitsOf(c)
	if err != nil || len(v.operations) == 0 {
		t.Fatalf("operations %v, %v", v, err)
	}
	return v.operations[0]
}
