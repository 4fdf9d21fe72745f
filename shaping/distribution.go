package shaping

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// Distribution is a shape of jitter, as the table from which the kernel draws: each
// value, times the jitter, divided by 8192, is what is added to the delay. A
// table whose mean is 0 keeps the mean delay; one whose σ is 8192 makes the jitter the
// delay's σ. It is not changed once it is made.
type Distribution struct {
	// Name is that of a packaged one, or file:PATH; "" where it is not known.
	Name  string
	Table []int16 // at most MaxTable values, in ascending order where it was built here
	// Delay and Jitter give back what it was built from, where that was in units of
	// time; otherwise 0.
	Delay, Jitter time.Duration
}

const (
	// tableUnit stands for one σ in a table. Source: linux/pkt_sched.h, NETEM_DIST_SCALE.
	tableUnit = 8192
	// MaxTable is the longest table that the kernel takes. Source: NETEM_DIST_MAX.
	MaxTable = 16384
	// tableSize is how many values a table built here has.
	tableSize = 4096
)

// String is d as ParseSpec reads it.
func (d *Distribution) String() string {
	switch {
	case d == nil:
		return "uniform"
	case d.Name == "":
		return fmt.Sprintf("table of %d", len(d.Table))
	}
	return d.Name
}

// Equal reports whether d and e are the same table.
func (d *Distribution) Equal(e *Distribution) bool { return slices.Equal(d.table(), e.table()) }

func (d *Distribution) table() []int16 {
	if d == nil {
		return packaged()["uniform"].Table
	}
	return d.Table
}

func (d *Distribution) bytes() []byte {
	var b []byte
	for _, v := range d.table() {
		b = native.AppendUint16(b, uint16(v))
	}
	return b
}

// tableDistribution is the inverse of bytes.
func tableDistribution(data []byte) *Distribution {
	d := &Distribution{Table: make([]int16, len(data)/2)}
	for i := range d.Table {
		d.Table[i] = int16(native.Uint16(data[2*i:]))
	}
	for _, p := range packaged() {
		if d.Equal(p) {
			return canonical(p)
		}
	}
	return d
}

// canonical leaves no two ways to say uniform.
func canonical(d *Distribution) *Distribution {
	if d.Name == "uniform" {
		return nil
	}
	return d
}

// packaged are the distributions with names: tc's names, but tables computed
// here (docs/links.md, "Distributions").
var packaged = sync.OnceValue(func() map[string]*Distribution {
	normal := func(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }
	// Pareto with index 3, the least whole one with a variance; mean 3/2, variance 3/4.
	pareto := func(p float64) float64 { return (math.Pow(1-p, -1./3) - 1.5) / math.Sqrt(0.75) }
	all := map[string]*Distribution{
		"uniform":      {Table: quantileTable(func(p float64) float64 { return 2*p - 1 }, false)},
		"normal":       {Table: quantileTable(normal, true)},
		"pareto":       {Table: quantileTable(pareto, true)},
		"paretonormal": {Table: quantileTable(func(p float64) float64 { return normal(p)/4 + pareto(p)*3/4 }, true)},
		// As round trips of a shared path look: log-normal, a hard floor and a long tail.
		"experimental": {Table: quantileTable(func(p float64) float64 { return math.Exp(normal(p) / 2) }, true)},
	}
	for name, d := range all {
		d.Name = name
	}
	return all
})

// Distributions are the names of the packaged distributions.
func Distributions() []string {
	return []string{"uniform", "normal", "pareto", "paretonormal", "experimental"}
}

func namedDistribution(name string) (*Distribution, error) {
	if d := packaged()[name]; d != nil {
		return canonical(d), nil
	}
	if path, ok := strings.CutPrefix(name, fileScheme); ok && path != "" {
		return &Distribution{Name: name}, nil // a Book reads it
	}
	return nil, &problem{fmt.Sprintf("unknown distribution %q", name), "distributions: " + strings.Join(Distributions(), ", ") + ", file:PATH"}
}

const fileScheme = "file:"

// quantileTable samples the inverse of a cumulative distribution. Normalised, mean and
// σ of what is left after clipping at what 16 bits hold, ±4σ, are 0 and 1.
func quantileTable(inverse func(p float64) float64, normalise bool) []int16 {
	values := make([]float64, tableSize)
	for i := range values {
		values[i] = inverse((float64(i) + 0.5) / tableSize)
	}
	for round := 0; normalise && round < 20; round++ { // clipping moves both a little
		mean, sigma := moments(values)
		for i, v := range values {
			values[i] = min((v-mean)/sigma, tableMost)
		}
	}
	return toTable(values)
}

// tableMost is the largest number of σ that a table can hold.
const tableMost = float64(math.MaxInt16) / tableUnit

func toTable(values []float64) []int16 {
	table := make([]int16, len(values))
	for i, v := range values {
		table[i] = int16(math.Round(min(max(v, -tableMost), tableMost) * tableUnit))
	}
	return table
}

func moments(values []float64) (mean, sigma float64) {
	for _, v := range values {
		mean += v
	}
	mean /= float64(len(values))
	for _, v := range values {
		sigma += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(sigma / float64(len(values)))
}
