package app

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/admin"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/internal/timing/station"
)

// visits are a cassette's exchanges as stations see them.
type visits struct {
	operations []string          // names, by number
	number     map[string]int    // of an operation
	hosts      []string          // of each operation, with its scheme
	to         [][]station.Visit // each operation, in the order in which they ended
	bent       int               // exchanges left out: rules had delayed them
	refused    map[string]int    // likewise, by operation: a limit did not let them in
}

// visitsOf reads a cassette. An error stands for bad input.
func visitsOf(c *cassette.Cassette) (*visits, error) {
	v := &visits{number: map[string]int{}, refused: map[string]int{}}
	var base time.Time
	for x, err := range c.Exchanges() {
		if err != nil {
			return nil, BadInput(err)
		}
		if !answered(x) {
			continue
		}
		if refusal(x) {
			v.refused[operationOf(&x.Request)]++
			continue
		}
		if len(x.Fired) > 0 && x.Times.Injected > 0 {
			v.bent++
			continue
		}
		if base.IsZero() {
			base = x.At
		}
		s := v.visit(x, x.At.Sub(base))
		v.to[s.Operation] = append(v.to[s.Operation], s)
	}
	return v, nil
}

// visit is one exchange's, which began at a moment.
func (v *visits) visit(x *fixtures.Exchange, began time.Duration) station.Visit {
	name := operationOf(&x.Request)
	n, ok := v.number[name]
	if !ok {
		n = len(v.operations)
		v.number[name] = n
		v.operations = append(v.operations, name)
		v.hosts = append(v.hosts, x.Request.Scheme+"://"+x.Request.Host)
		v.to = append(v.to, nil)
	}
	t, first := &x.Times, max(x.Times.FirstByte, x.Times.RequestRead)
	s := station.Visit{
		At: began + t.RequestRead, First: began + first, End: began + max(t.End, first),
		Source: x.Conn, Operation: n, Size: x.Response.Body.Size,
	}
	if x.Request.Proto == "HTTP/2.0" { // whose connections do not wait for answers
		s.Source = 0
	}
	return s
}

// of returns the visits to some operations, numbered by their place in the list.
func (v *visits) of(operations []string) []station.Visit {
	var out []station.Visit
	for i, name := range operations {
		n, ok := v.number[name]
		if !ok {
			continue
		}
		for _, s := range v.to[n] {
			s.Operation = i
			out = append(out, s)
		}
	}
	return out
}

// Fitted is a timing model as it is written, and what it makes of the recording.
type Fitted struct {
	Operations []string      `json:"operations"`
	Model      string        `json:"model"` // "fifo, 8 servers" for people
	Discipline string        `json:"discipline"`
	Servers    int           `json:"servers,omitempty"`
	Fixed      Seconds       `json:"fixed_seconds,omitempty"`
	Share      float64       `json:"share,omitempty"`
	Capacity   float64       `json:"capacity_per_second,omitempty"`
	Quality    string        `json:"quality"`
	Why        string        `json:"why,omitempty"`
	Score      float64       `json:"score"`
	Identified float64       `json:"identified"`
	Closed     bool          `json:"closed_loop"`
	Exchanges  int           `json:"exchanges"`
	Levels     []FittedLevel `json:"levels"`
}

// FittedLevel is a part of the recording under about the same load, beside what the model
// makes of it by the demands of the other parts.
type FittedLevel struct {
	Exchanges int     `json:"exchanges"`
	Rate      float64 `json:"rate_per_second"`
	InFlight  float64 `json:"in_flight"`
	Recorded  Latency `json:"recorded"`
	Simulated Latency `json:"model"`
}

// fitSeed decides what a fit draws: the same cassette, the same models.
const fitSeed = 1

// Fit is what a cassette tells of how it was served.
type Fit struct {
	Models []Fitted
	Limits []FittedLimit
	Left   int // exchanges left out of the models as rules had delayed them
}

// FitModels fits the timing models and rate limits of a cassette's directory, host by host,
// and writes them into its manifest unless dry is set. Those that stood there go.
func FitModels(dir string, dry bool) (fit Fit, err error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return fit, Usage(fmt.Errorf("fit: %s has no manifest to write into: want a cassette's directory\nhint: understudy cassette import makes one of an HTTP archive", dir))
	}
	if !dry && err == nil {
		unlock, err := cassette.Lock(dir)
		if errors.Is(err, cassette.ErrLocked) {
			err = fmt.Errorf("%w\nhint: fit it once its recording has ended, or see what would come of it with --dry-run", err)
		}
		if err != nil {
			return fit, Setup(err)
		}
		defer func() { _ = unlock() }()
	}
	c, err := OpenCassette(dir)
	if err != nil {
		return fit, err
	}
	v, err := visitsOf(c)
	if err != nil {
		return fit, err
	}
	if len(v.operations) == 0 {
		return fit, BadInput(&place.Error{File: dir, Msg: "no answers to fit a model to",
			Hint: "record some under load: understudy record -o " + dir})
	}
	m := *c.Manifest
	m.Models, m.Limits = nil, nil
	for _, host := range distinct(v.hosts) {
		for _, g := range station.FitAll(v.at(host), fitSeed) {
			f := v.fitted(&g)
			fit.Models = append(fit.Models, f)
			m.Models = append(m.Models, f.model())
		}
	}
	fit.Left = v.bent
	if fit.Limits, err = fitLimits(c, v); err != nil {
		return fit, err
	}
	for i := range fit.Limits {
		m.Limits = append(m.Limits, fit.Limits[i].limit())
	}
	if dry {
		return fit, nil
	}
	if err := cassette.RewriteManifest(dir, &m, "models", "limits"); err != nil {
		return fit, Setup(fmt.Errorf("%w\nhint: --dry-run tells the models without writing them", err))
	}
	return fit, nil
}

// at returns the visits to a host.
func (v *visits) at(host string) []station.Visit {
	var out []station.Visit
	for n, of := range v.to {
		if v.hosts[n] == host {
			out = append(out, of...)
		}
	}
	return out
}

// distinct are the values of a list, each once, in order of their first place.
func distinct(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (v *visits) fitted(g *station.Group) Fitted {
	r := &g.Result
	f := Fitted{
		Discipline: cassette.ByLoad, Capacity: r.Capacity, Quality: string(r.Quality), Why: r.Why,
		Score: finite(r.Score), Identified: finite(r.Identified), Closed: r.Closed, Exchanges: r.Visits, Levels: []FittedLevel{},
	}
	for _, n := range g.Operations {
		f.Operations = append(f.Operations, v.operations[n])
	}
	if r.Quality != station.ByLoad {
		f.Discipline, f.Servers, f.Fixed, f.Share = string(r.Station.Discipline), r.Station.Servers, Seconds(r.Station.Fixed), r.Station.Share
	}
	m := f.model()
	f.Model = describe(&m)
	for _, l := range r.Levels {
		f.Levels = append(f.Levels, FittedLevel{
			Exchanges: l.Visits, Rate: l.Rate, InFlight: l.InFlight,
			Recorded: levelled(l.Visits, l.Recorded), Simulated: levelled(l.Visits, l.Simulated),
		})
	}
	return f
}

// finite is x, or 0 for what neither JSON nor people can read.
func finite(x float64) float64 {
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return 0
	}
	return x
}

func levelled(n int, q station.Quantiles) Latency {
	return Latency{N: n, P50: Seconds(q.P50), P95: Seconds(q.P95), P99: Seconds(q.P99)}
}

// model is what stands in the manifest.
func (f *Fitted) model() cassette.Model {
	return cassette.Model{
		Operations: f.Operations, Discipline: f.Discipline, Servers: f.Servers, Fixed: cassette.Duration(f.Fixed), Share: f.Share,
		Capacity: rounded(f.Capacity), Quality: f.Quality, Why: f.Why, Score: rounded(f.Score), Exchanges: f.Exchanges,
	}
}

// rounded has four significant digits: more are noise in a file that is read.
func rounded(x float64) float64 {
	var y float64
	_, _ = fmt.Sscan(fmt.Sprintf("%.4g", x), &y) // what was just printed
	return y
}

// describe tells people how a model serves.
func describe(m *cassette.Model) string {
	if m.Discipline == cassette.ByLoad {
		return "drawn by requests in flight"
	}
	text := m.Discipline + ", " + plural(m.Servers, "server")
	switch {
	case m.Fixed > 0:
		text += " after " + Seconds(m.Fixed).String()
	case m.Share > 0 && m.Share < 1:
		text += fmt.Sprintf(", %.0f %% of each request", 100*m.Share)
	}
	return text
}

// stations are a cassette's models at work. The zero value has none.
type stations struct {
	number    map[string]int32 // of an operation: its fixtures.Answer.Model
	entrances []entrance       // by number less 1
}

// of is an exchange's fixtures.Answer.Model.
func (s *stations) of(x *fixtures.Exchange) int32 {
	if len(s.number) == 0 {
		return 0
	}
	return s.number[operationOf(&x.Request)]
}

// working is a model at work.
type working struct {
	model *cassette.Model
	of    *cassette.Cassette
	live  *station.Live
}

// modelsNow are the models at work, for the admin API.
func (p *parts) modelsNow() []admin.Model {
	var out []admin.Model
	for _, w := range p.models {
		m, load := w.model, w.live.Load(time.Now())
		out = append(out, admin.Model{
			Cassette: w.of.Path, Operations: m.Operations, Discipline: m.Discipline, Servers: m.Servers, Capacity: m.Capacity,
			InFlight: load.InFlight, InService: load.InService, Waiting: load.Waiting, Served: load.Served, Left: load.Left,
		})
	}
	return out
}

// makeStations sets a cassette's models up where they are to be played.
func (p *parts) makeStations(c *cassette.Cassette) (stations, error) {
	if p.c.Timing != config.TimingModel {
		return stations{}, nil
	}
	v, err := visitsOf(c)
	if err != nil || len(v.operations) == 0 {
		return stations{}, err
	}
	file := filepath.Join(c.Path, cassette.ManifestFile)
	if len(c.Manifest.Models) == 0 {
		hint := "fit them: understudy cassette fit " + c.Path
		if info, err := os.Stat(c.Path); err != nil || !info.IsDir() {
			file, hint = c.Path, "want a cassette's directory: understudy cassette import makes one of an HTTP archive, understudy cassette fit the models"
		}
		return stations{}, BadInput(&place.Error{File: file, Msg: "--timing model: the cassette has no timing models", Hint: hint})
	}
	s := stations{number: map[string]int32{}}
	for i := range c.Manifest.Models {
		m := &c.Manifest.Models[i]
		for _, name := range m.Operations {
			if _, ok := v.number[name]; !ok {
				return stations{}, BadInput(&place.Error{File: file, Msg: fmt.Sprintf("models: entry %d: the cassette has no answers to %q", i+1, name),
					Hint: "fit them anew: understudy cassette fit " + c.Path})
			}
		}
		visits := v.of(m.Operations)
		r := station.Result{Quality: station.ByLoad, Station: station.Station{Discipline: station.FIFO}}
		if m.Discipline != cassette.ByLoad {
			r.Quality = station.Good
			r.Station = station.Station{Discipline: station.Discipline(m.Discipline), Servers: m.Servers, Fixed: time.Duration(m.Fixed), Share: m.Share}
		}
		live := station.NewLive(r.Station, station.NewDrawer(r, visits, timing.MixString(timing.Mix(p.seed, uint64(i)), c.Name)))
		p.models = append(p.models, working{m, c, live})
		for n, name := range m.Operations {
			s.entrances = append(s.entrances, entrance{live, n})
			s.number[name] = int32(len(s.entrances))
		}
		p.tellModel(c, m, len(visits))
	}
	for _, name := range v.operations {
		if s.number[name] == 0 {
			p.log.Warn("timing model: none for it; it is played as recorded", zap.String("operation", name),
				zap.String("hint", "understudy cassette fit "+c.Path))
		}
	}
	return s, nil
}

// tellModel says what is in force.
func (p *parts) tellModel(c *cassette.Cassette, m *cassette.Model, visits int) {
	fields := []zap.Field{zap.String("operations", someOf(m.Operations)), zap.String("served", describe(m))}
	if m.Capacity > 0 {
		fields = append(fields, zap.String("capacity", fmt.Sprintf("%.4g/s", m.Capacity)))
	}
	if m.Quality != string(station.Good) && m.Why != "" {
		p.log.Warn("timing model", append(fields, zap.String("why", m.Why))...)
	} else {
		p.log.Info("timing model", fields...)
	}
	if m.Exchanges != visits {
		p.log.Warn("timing model: the cassette has changed since it was fitted", zap.Int("fitted_to", m.Exchanges), zap.Int("has", visits),
			zap.String("hint", "understudy cassette fit "+c.Path))
	}
}
