package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// series is what readings every five seconds of so long are, where rss(t) is in MiB
// after t.
func series(long time.Duration, rss func(t time.Duration, r *rand.Rand) float64) ([]Sample, SoakOptions) {
	r := rand.New(rand.NewPCG(1, 2))
	var samples []Sample
	for at := 5 * time.Second; at <= long; at += 5 * time.Second {
		size := int64(rss(at, r) * (1 << 20))
		samples = append(samples, Sample{at, Vitals{RSS: size, Heap: size, Descriptors: 40 + r.Int64N(8), Goroutines: 30 + r.Int64N(8), Threads: 9, Collections: int64(at / time.Second)}})
	}
	return samples, SoakOptions{Duration: long, Level: 0.99}
}

func TestGrowthIsToldFromNoise(t *testing.T) {
	sawtooth := func(at time.Duration) float64 { return 10 * math.Mod(at.Seconds()*0.37, 1) }
	tests := []struct {
		name string
		rss  func(t time.Duration, r *rand.Rand) float64
		want Verdict
	}{
		{"level", func(time.Duration, *rand.Rand) float64 { return 40 }, Pass},
		{"noise of 3 MiB", func(_ time.Duration, r *rand.Rand) float64 { return 40 + 3*r.NormFloat64() }, Pass},
		{"a collection's sawtooth of 10 MiB", func(at time.Duration, _ *rand.Rand) float64 { return 40 + sawtooth(at) }, Pass},
		{"a sawtooth as slow as ten minutes", func(at time.Duration, _ *rand.Rand) float64 { return 40 + 3*math.Mod(at.Minutes(), 10)/10 }, Pass},
		{"pools that fill in the first minutes", func(at time.Duration, r *rand.Rand) float64 {
			return 40 + 20*(1-math.Exp(-at.Minutes())) + r.NormFloat64()
		}, Pass},
		{"a burst for a tenth of the time", func(at time.Duration, r *rand.Rand) float64 {
			if at > 30*time.Minute && at < 36*time.Minute {
				return 200
			}
			return 40 + r.NormFloat64()
		}, Pass},
		{"a leak of 1 MB a minute", func(at time.Duration, _ *rand.Rand) float64 { return 40 + at.Minutes()*1e6/(1<<20) }, Fail},
		{"a leak of 1 MB a minute in noise and a sawtooth", func(at time.Duration, r *rand.Rand) float64 {
			return 40 + at.Minutes()*1e6/(1<<20) + 3*r.NormFloat64() + sawtooth(at)
		}, Fail},
		{"a leak that is let go of each ten minutes, but for half", func(at time.Duration, r *rand.Rand) float64 {
			return 40 + at.Minutes()/2 + math.Mod(at.Minutes(), 10)/2 + r.NormFloat64()
		}, Fail},
	}
	for _, tt := range tests {
		samples, o := series(time.Hour, tt.rss)
		metrics, err := growth(samples, o)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		for i, m := range metrics {
			want := Pass
			if i < 2 { // rss and heap
				want = tt.want
			}
			if m.Verdict != want {
				t.Errorf("%s: %s = %+v, want %s", tt.name, m.Name, m, want)
			}
		}
	}
}

// bursts are goroutines that an hour of HTTP/2 had: 30 to 35, and for a third of the
// readings twice as many, now and then for minutes.
func bursts(at time.Duration, r *rand.Rand) int64 {
	n := 30 + r.Int64N(6)
	if r.IntN(3) == 0 || r.IntN(3) > 0 && int(at.Minutes())%11 == 3 {
		n += 20 + r.Int64N(25)
	}
	return n
}

func TestGrowthIsToldFromBursts(t *testing.T) {
	samples, o := series(time.Hour, func(time.Duration, *rand.Rand) float64 { return 40 })
	r := rand.New(rand.NewPCG(5, 6))
	for i := range samples {
		samples[i].Goroutines = bursts(samples[i].At, r)
	}
	metrics, err := growth(samples, o)
	if m := metrics[3]; err != nil || m.Verdict != Pass || m.High > 4 {
		t.Errorf("bursts: %+v (%v), want pass", m, err)
	}
	for i := range samples { // one each four minutes stays
		samples[i].Goroutines += int64(samples[i].At / (4 * time.Minute))
	}
	metrics, err = growth(samples, o)
	if m := metrics[3]; err != nil || m.Verdict != Fail {
		t.Errorf("a leak in bursts: %+v (%v), want fail", m, err)
	}
}

// Ten minutes are enough for a leak of a megabyte a minute: by its heap.
func TestGrowthInAShortSoak(t *testing.T) {
	samples, o := series(10*time.Minute, func(at time.Duration, r *rand.Rand) float64 { return 20 + at.Minutes() + r.NormFloat64()/4 })
	metrics, err := growth(samples, o)
	if err != nil || metrics[1].Verdict != Fail {
		t.Errorf("heap = %+v, %v, want fail", metrics[1], err)
	}
	metrics, err = growth(samples[:7], SoakOptions{Duration: 40 * time.Second, Level: 0.99})
	if err != nil || metrics[0].Verdict != Inconclusive || metrics[0].Measured {
		t.Errorf("seven readings: %+v, %v, want inconclusive", metrics[0], err)
	}
}

// What is allocated before it was ever collected is no growth: a slow machine's soak of
// some seconds does not tell, and says so.
func TestGrowthBeforeTheCollections(t *testing.T) {
	samples, o := series(10*time.Minute, func(at time.Duration, _ *rand.Rand) float64 { return 20 + 10*at.Minutes() })
	for i := range samples {
		samples[i].Collections = 3 + int64(i)*(leastCollections-1)/int64(len(samples)-1)
	}
	metrics, err := growth(samples, o)
	for i, m := range metrics {
		want := Pass
		if i < 2 { // rss and heap
			want = Inconclusive
		}
		if err != nil || m.Verdict != want || m.Measured == (want == Inconclusive) {
			t.Errorf("%s = %+v, %v, want %s", m.Name, m, err, want)
		}
	}
}

func TestGrowthOfDescriptorsAndItsBudget(t *testing.T) {
	samples, o := series(time.Hour, func(time.Duration, *rand.Rand) float64 { return 40 })
	for i := range samples { // one each two minutes
		samples[i].Descriptors += int64(samples[i].At / (2 * time.Minute))
	}
	metrics, err := growth(samples, o)
	if err != nil || metrics[2].Verdict != Fail || metrics[3].Verdict != Pass {
		t.Errorf("descriptors, goroutines = %+v, %+v (%v), want fail, pass", metrics[2], metrics[3], err)
	}
	b, err := ParseBudget("b.yaml", []byte("soak:\n  descriptors: 60\n  rss: 1MiB\n"))
	if err != nil {
		t.Fatal(err)
	}
	o.Budget = b
	metrics, err = growth(samples, o)
	if m := metrics[2]; err != nil || m.Verdict != Pass || *m.Limit != 60 || m.Line != 2 {
		t.Errorf("descriptors with a budget of 60 = %+v (%v), want pass", m, err)
	}
	for text, want := range map[string]string{
		"soak: {rss: 5}": "want a size", "soak: {threads: many}": "want a number", "soak: {files: 1}": `unknown key "files"`, "soak: 5": "want a mapping",
	} {
		if _, err := ParseBudget("b.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestWhatIsLeftOverIsAFinding(t *testing.T) {
	before := Vitals{Descriptors: 20, Goroutines: 14}
	for after, want := range map[Vitals][2]Verdict{
		{Descriptors: 15, Goroutines: 14}: {Pass, Pass},
		{Descriptors: 40, Goroutines: 18}: {Pass, Pass},
		{Descriptors: 41, Goroutines: 18}: {Fail, Pass},
		{Descriptors: 20, Goroutines: 19}: {Pass, Fail},
	} {
		if got := returned(before, after, 16); got[0].Verdict != want[0] || got[1].Verdict != want[1] {
			t.Errorf("%+v after %+v: %+v, want %v", after, before, got, want)
		}
	}
}

func TestSpreadOver(t *testing.T) {
	ways := []Way{{Weight: 6}, {Weight: 1}, {Weight: 1}}
	for n, want := range map[int][]int{16: {12, 2, 2}, 8: {6, 1, 1}, 2: {1, 1, 1}} {
		if got := spreadOver(n, ways); !slices.Equal(got, want) {
			t.Errorf("spreadOver(%d) = %v, want %v", n, got, want)
		}
	}
}

// soaked is a scenario with net/http's reverse proxy in this process, whose vitals
// are what held adds to this process's own.
func soaked(name string, held func() (Vitals, error), stop error) SoakScenario {
	return SoakScenario{Name: name, Start: func(ctx context.Context, up *Upstream) (*Soaked, error) {
		at, end, err := reverse(name).Start(ctx, up, false)
		if err != nil {
			return nil, err
		}
		large := at
		large.URL += LargePath
		return &Soaked{
			Ways: []Way{{at, 3}, {large, 1}}, PID: os.Getpid(),
			Vitals: func(context.Context) (Vitals, error) { return held() },
			Stop:   func() error { return errors.Join(end(), stop) },
		}, nil
	}}
}

func TestSoakEndToEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 s")
	}
	start, readings := time.Now(), 0
	steady := func() (Vitals, error) {
		return Vitals{RSS: 1 << 20, Heap: 1 << 20, Descriptors: 3, Goroutines: 3, Threads: 3, Collections: int64(time.Since(start) / (100 * time.Millisecond))}, nil
	}
	r, err := Soak(t.Context(), SoakOptions{
		Scenarios: []SoakScenario{
			soaked("steady", steady, nil),
			soaked("leaks", func() (Vitals, error) {
				v, _ := steady()
				v.RSS += int64(time.Since(start).Minutes() * 60 * (4 << 20)) // 4 MiB a second
				return v, nil
			}, nil),
			soaked("ends badly", steady, errors.New("it crashed on the way out")),
		},
		Duration: 5 * time.Second, Connections: 2, Progress: func(string) { readings++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Verdict{Pass, Fail, Fail}
	for i, s := range r.Scenarios {
		if s.Verdict != want[i] || s.Counts.Answered == 0 || s.Counts.Connections == 0 || s.Counts.silent > 0 || s.Rate <= 0 {
			t.Errorf("%s = %s, %+v, want %s", s.Name, s.Verdict, s.Counts, want[i])
		}
	}
	if runtime.GOOS == "linux" && r.Scenarios[0].CPU <= 0 {
		t.Error("no CPU time")
	}
	var text, doc bytes.Buffer
	if err := errors.Join(r.WriteText(&text), r.WriteJSON(&doc)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\ngrew: leaks: rss_per_hour: want ≤ ", "\nfailed: ends badly: it crashed on the way out\n", "\nverdict: fail\n", "steady, 2 connections: pass"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	var back SoakReport
	if err := json.Unmarshal(doc.Bytes(), &back); err != nil || back.Verdict != Fail || len(back.Scenarios[1].Samples) < 10 || readings == 0 {
		t.Errorf("JSON = %s (%v)", doc.String(), err)
	}
}

// A process that is gone ends the soak at once, as a finding.
func TestSoakOfTheDead(t *testing.T) {
	gone := func() (Vitals, error) { return Vitals{}, errors.New("connection refused") }
	s := &soaking{Soaked: &Soaked{Vitals: func(context.Context) (Vitals, error) { return gone() }}, report: &SoakedReport{Name: "dead"}}
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithTimeout(t.Context(), time.Hour)
		start, o := time.Now(), SoakOptions{Duration: time.Hour, Progress: func(string) {}}
		sampleAll(ctx, end, []*soaking{s}, o)
		if took := time.Since(start); took != maxMissed*o.every() || ctx.Err() == nil || s.report.Failure != "connection refused" {
			t.Errorf("after %v: %v, %q, want the end after three readings", took, ctx.Err(), s.report.Failure)
		}
	})
	if _, err := s.settle(t.Context(), nil); err == nil {
		t.Error("settle: no error")
	}
	if err := s.report.judge(SoakOptions{Duration: time.Hour, Level: 0.99}); err != nil || s.report.Verdict != Fail {
		t.Errorf("verdict = %s, %v, want fail", s.report.Verdict, err)
	}
}

// What hung is not made up for: the requests that it cost are left out, and counted.
func TestSoakersDoNotCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var counts wayCounts
		s := &soaker{worker: worker{dial: stub(func(n int) time.Duration {
			if n == 5 {
				return 5 * time.Second
			}
			return time.Millisecond
		}), speak: speakPlain}, counts: &counts, random: rand.New(rand.NewPCG(1, 1))}
		s.open(ctx, time.Now(), 10*time.Millisecond)
		s.close()
		time.Sleep(10 * time.Second) // the stubs notice when they write
		sent := counts.answered.Load() + counts.givenUp.Load() + counts.broken.Load()
		if skipped := counts.skipped.Load(); counts.answered.Load() == 0 || counts.opened.Load() < 2 || skipped < 490 || sent+skipped < 1990 || sent+skipped > 2010 {
			t.Errorf("sent %d, skipped %d on %d connections, want 2000 in all", sent, skipped, counts.opened.Load())
		}
	})
}

func TestSoakRefuses(t *testing.T) {
	one := []SoakScenario{soaked("x", nil, nil)}
	for name, o := range map[string]SoakOptions{
		"none": {Duration: time.Minute}, "short": {Scenarios: one, Duration: time.Second}, "level": {Scenarios: one, Duration: time.Minute, Level: 2},
	} {
		if _, err := Soak(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	dead := SoakScenario{Name: "dead", Start: func(context.Context, *Upstream) (*Soaked, error) { return nil, errors.New("cannot") }}
	if _, err := Soak(t.Context(), SoakOptions{Scenarios: []SoakScenario{dead}, Duration: time.Minute}); err == nil || !strings.Contains(err.Error(), "scenario dead: start proxy: cannot") {
		t.Errorf("error = %v", err)
	}
}

func TestUpstreamHasLargeAnswers(t *testing.T) {
	u, err := InProcessUpstream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []LoadOptions{{URL: u.URL + LargePath}, {URL: u.HTTP2 + LargePath, HTTP2: true, Roots: u.Roots}} {
		d, err := newDialer(o)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := d.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, err := d.speak(conn)
		if err != nil {
			t.Fatal(err)
		}
		if keep, err := c.exchange(0); err != nil || !keep {
			t.Errorf("%s: exchange = %v, %v", o.URL, keep, err)
		}
		conn.Close()
	}
	client := &http.Client{Transport: &http.Transport{}}
	resp, err := client.Get(u.URL + LargePath)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ContentLength != LargeSize {
		t.Errorf("length = %d, want %d", resp.ContentLength, LargeSize)
	}
	client.CloseIdleConnections()
	if err := u.Stop(); err != nil {
		t.Error(err)
	}
}
