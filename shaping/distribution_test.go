package shaping

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
)

// draw is the kernel's use of a table: jitter in ns times a value, by 8192.
func draw(d *Distribution, jitter time.Duration) []float64 {
	out := make([]float64, len(d.table()))
	for i, v := range d.table() {
		out[i] = float64(jitter) * float64(v) / tableUnit
	}
	slices.Sort(out)
	return out
}

func TestPackagedDistributions(t *testing.T) {
	for _, name := range Distributions() {
		d := packaged()[name]
		mean, sigma := moments(draw(d, tableUnit))
		want := float64(tableUnit)
		if name == "uniform" { // ±jitter, as the kernel has it without a table
			want /= math.Sqrt(3)
		}
		if math.Abs(mean) > 8 || math.Abs(sigma/want-1) > 0.002 || !slices.IsSorted(d.Table) {
			t.Errorf("%s: mean %.2f, sigma %.1f, want 0 and %.1f, ascending", name, mean, sigma, want)
		}
	}
	// Quantiles that are in every book.
	for _, tt := range []struct {
		name    string
		p, want float64 // in sigma
		within  float64
	}{
		{"normal", 0.5, 0, 0.01}, {"normal", 0.8413, 1, 0.01}, {"normal", 0.9772, 2, 0.02},
		{"uniform", 0.75, 0.5, 0.01},
	} {
		table := packaged()[tt.name].Table
		got := float64(table[int(tt.p*float64(len(table)))]) / tableUnit
		if math.Abs(got-tt.want) > tt.within {
			t.Errorf("%s at %v = %.3f σ, want %.3f", tt.name, tt.p, got, tt.want)
		}
	}
	if p := packaged()["pareto"].Table; p[len(p)/2] >= 0 || p[len(p)-1] != math.MaxInt16 {
		t.Errorf("pareto: median %d, top %d, want a median below the mean and a tail up to the limit", p[len(p)/2], p[len(p)-1])
	}
}

// What was measured comes back, tails included.
func TestFromSamples(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var samples []time.Duration
	for range 5000 {
		d := 20*time.Millisecond + time.Duration(rng.ExpFloat64()*float64(5*time.Millisecond))
		if rng.IntN(200) == 0 {
			d += 300 * time.Millisecond // far beyond 4σ
		}
		samples = append(samples, d)
	}
	d, err := FromSamples(samples)
	if err != nil {
		t.Fatal(err)
	}
	sorted := slices.Clone(samples)
	slices.Sort(sorted)
	got := draw(d, d.Jitter)
	for _, p := range []float64{0.01, 0.1, 0.5, 0.9, 0.99, 0.999} {
		want := sorted[int(p*float64(len(sorted)))]
		have := d.Delay + time.Duration(got[int(p*float64(len(got)))])
		// A table's step is jitter / 8192.
		if (have - want).Abs() > want/50+d.Jitter/tableUnit {
			t.Errorf("p%v = %v, want %v", 100*p, have, want)
		}
	}
}

func TestFromQuantiles(t *testing.T) {
	ms := time.Millisecond
	d, err := FromQuantiles([]Quantile{{0, 10 * ms}, {0.5, 20 * ms}, {0.95, 80 * ms}, {1, 200 * ms}})
	if err != nil {
		t.Fatal(err)
	}
	got := draw(d, d.Jitter)
	for p, want := range map[float64]time.Duration{0.25: 15 * ms, 0.5: 20 * ms, 0.95: 80 * ms, 0.975: 140 * ms} {
		if have := d.Delay + time.Duration(got[int(p*float64(len(got)))]); (have - want).Abs() > ms {
			t.Errorf("p%v = %v, want %v", 100*p, have, want)
		}
	}
	for name, bad := range map[string][]Quantile{
		"one": {{0.5, ms}}, "falling": {{0.1, 2 * ms}, {0.9, ms}}, "twice": {{0.1, ms}, {0.1, 2 * ms}}, "beyond": {{0.1, ms}, {1.1, 2 * ms}},
		"flat": {{0.1, ms}, {0.9, ms}}, "long": {{0.1, ms}, {0.9, time.Hour}},
	} {
		if _, err := FromQuantiles(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestParseDistribution(t *testing.T) {
	ms := time.Millisecond
	samples, _ := FromSamples([]time.Duration{10 * ms, 20 * ms, 40 * ms})
	quantiles, _ := FromQuantiles([]Quantile{{0.5, 20 * ms}, {0.99, 80 * ms}})
	for text, want := range map[string]*Distribution{
		"# tc's\n-8192 0\n\n8192\n": {Table: []int16{-8192, 0, 8192}},
		"10ms 20ms\n40ms":           samples,
		"PING x (1.2.3.4) 56(84) bytes of data.\n64 bytes from x: icmp_seq=1 ttl=64 time=10.0 ms\n64 bytes from x: icmp_seq=2 ttl=64 time=20.0 ms\n" +
			"64 bytes from x: icmp_seq=3 ttl=64 time=40.0 ms\n\n--- x ping statistics ---\n3 packets transmitted, 3 received\nrtt min/avg/max/mdev = 1/2/3/4 ms\n": samples,
		"50% 20ms\n99% 80ms\n": quantiles,
		// A cassette's: connections that were there were not dialled.
		`{"id":1,"times":{"upstream_connect_ns":10000000,"end_ns":5}}` + "\n" + `{"id":2,"times":{"reused":true}}` + "\n" +
			`{"id":3,"times":{"upstream_connect_ns":40000000}}` + "\n" + `{"id":4,"times":{"upstream_connect_ns":20000000}}` + "\n": samples,
	} {
		got, err := ParseDistribution("d", []byte(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                 "d:1:1: there is nothing in it",
		"# only\n":         "d:1:1: there is nothing in it",
		"1 2\n70000":       "d:2:1: want at most 16384 values of 16 bits",
		"10ms\n50% 20ms":   "d:1:1: want one form",
		"10ms\nsoon":       `d:2:1: want a number or a duration, got "soon"`,
		"50%":              "d:1:1: want a quantile",
		"50% 20":           `d:1:1: want a duration, got "20"`,
		"150% 20ms":        "d:1:1: want a quantile",
		"-5ms 3ms":         `d:1:1: want a number or a duration, got "-5ms"`,
		`{"times":{}}`:     "d:1:1: want two dialled connections or more in the recording, found 0",
		"10ms 20ms\n{":     "d:2:1: want a recorded exchange: unexpected end of JSON input",
		"10ms":             "d:1:1: want two samples or more",
		"10ms 10ms":        "d:1:1: all are the same",
		"90% 2ms\n50% 1ms": "d:1:1: want quantiles ascending",
	} {
		if got, err := ParseDistribution("d", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q = %+v, %v, want %q", text, got, err, want)
		}
	}
}

// What was read is written so that it reads as the same table.
// What is read of a cassette is what a cassette's reader says of it.
func TestRecordedRoundTrips(t *testing.T) {
	const dir = "../fixtures/samples/shop"
	data, err := os.ReadFile(filepath.Join(dir, "exchanges.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := cassette.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var dialled []time.Duration
	for x, err := range c.Exchanges() {
		if err != nil {
			t.Fatal(err)
		}
		if x.Times.UpstreamConnect > 0 {
			dialled = append(dialled, x.Times.UpstreamConnect)
		}
	}
	want, err := FromSamples(dialled)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseDistribution("exchanges.ndjson", data); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ParseDistribution = %+v, %v, want %+v", got, err, want)
	}
}

func FuzzParseDistribution(f *testing.F) {
	for _, s := range []string{"1 2 3", "10ms 20ms", "50% 20ms\n99% 80ms", "64 bytes: time=1.5 ms\ntime<1 ms", "# x", `{"times":{"upstream_connect_ns":5}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDistribution("d", []byte(text))
		if err != nil {
			return
		}
		if len(d.Table) == 0 || len(d.Table) > MaxTable || d.Jitter < 0 || d.Jitter > MaxJitter || d.Delay < 0 {
			t.Fatalf("%q = %d values, delay %v, jitter %v", text, len(d.Table), d.Delay, d.Jitter)
		}
		back, err := ParseDistribution("d", []byte(d.text()))
		if err != nil || !back.Equal(d) {
			t.Fatalf("%q: its text gives another table: %v", text, err)
		}
	})
}

// text is d's table as tc reads it and ParseDistribution, too.
func (d *Distribution) text() string {
	var b strings.Builder
	b.WriteString("# " + strings.ReplaceAll(d.String(), "\n", " ") + ": values are sigma * 8192\n")
	for i, v := range d.table() {
		b.WriteString(strconv.Itoa(int(v)))
		if i%8 == 7 {
			b.WriteByte('\n')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String() + "\n"
}
