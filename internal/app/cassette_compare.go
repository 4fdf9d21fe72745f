package app

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// FewestSamples is what it takes of each side to judge an operation's timing.
const FewestSamples = 20

// slack is by how much a replay's distance may exceed that of the recording
// from itself.
const slack = 0.03

// Verdicts on timing.
const (
	TimingOK      = "ok"
	TimingDiffers = "differs"
	TimingTooFew  = "too few"
)

// Comparison is what a replay was like, beside the recording that it played.
type Comparison struct {
	Recording string `json:"recording"`
	Replay    string `json:"replay"`
	// SameHost is set where each side has one host, and another than the other's:
	// they are taken for the same.
	SameHost   bool                  `json:"hosts_taken_for_the_same"`
	Operations []OperationComparison `json:"operations"`
	Answers    AnswerComparison      `json:"answers"`
	// Differs is set where a timing differs, an answer does, or one is missing.
	Differs bool `json:"differs"`
}

// OperationComparison is the comparison of one operation.
type OperationComparison struct {
	Operation string            `json:"operation"`
	TTFB      LatencyComparison `json:"ttfb"`
	Total     LatencyComparison `json:"total"`
	Answers   AnswerComparison  `json:"answers"`
}

// LatencyComparison compares two distributions. The quantiles' errors are
// relative: 0.1 is a tenth too slow.
type LatencyComparison struct {
	Recording Latency `json:"recording"`
	Replay    Latency `json:"replay"`
	P50Error  float64 `json:"p50_error"`
	P95Error  float64 `json:"p95_error"`
	P99Error  float64 `json:"p99_error"`
	// KS is the Kolmogorov–Smirnov distance of the two, Bound what it may be: the
	// distance of the recording's halves and some slack.
	KS    float64 `json:"ks"`
	Bound float64 `json:"ks_bound"`
	// Wasserstein is the 1-Wasserstein distance divided by the recording's mean.
	Wasserstein float64 `json:"wasserstein_over_mean"`
	Verdict     string  `json:"verdict"`
}

// AnswerComparison counts answers that have the same status and the same bytes.
type AnswerComparison struct {
	Compared      int               `json:"compared"`
	Equal         int               `json:"equal"`
	OnlyRecording int               `json:"only_in_recording"` // exchanges without a counterpart
	OnlyReplay    int               `json:"only_in_replay"`
	First         *AnswerDifference `json:"first_difference,omitempty"`
}

// AnswerDifference is where two answers differ.
type AnswerDifference struct {
	Recording uint64 `json:"recording_id"`
	Replay    uint64 `json:"replay_id"`
	// Where is "status", or "body byte 17", counted from 0.
	Where string `json:"where"`
	Want  string `json:"want"` // the recording's
	Got   string `json:"got"`
}

// Compare judges a replay by the recording that it played: both were recorded, the
// second one with understudy between the client and the replay. An error stands
// for bad input.
//
// Exchanges are paired in order of arrival: those with the same request first, what
// is left by operation.
func Compare(recording, replay *cassette.Cassette) (*Comparison, error) {
	a, err := gather(recording)
	if err != nil {
		return nil, err
	}
	b, err := gather(replay)
	if err != nil {
		return nil, err
	}
	c := &Comparison{Recording: recording.Path, Replay: replay.Path, Operations: []OperationComparison{}}
	ha, hb := a.host(), b.host()
	c.SameHost = ha != hb && ha != "" && hb != ""
	if !c.SameHost {
		ha, hb = "", ""
	}
	a.group("", "")
	b.group(hb, ha)
	names := slices.Clone(a.order)
	for _, n := range b.order {
		if a.byName[n] == nil {
			names = append(names, n)
		}
	}
	for _, n := range names {
		o, err := compareOperation(n, a, b)
		if err != nil {
			return nil, err
		}
		c.Operations = append(c.Operations, o)
		c.Answers.add(o.Answers)
		c.Differs = c.Differs || o.TTFB.Verdict == TimingDiffers || o.Total.Verdict == TimingDiffers
	}
	w := &c.Answers
	c.Differs = c.Differs || w.Equal < w.Compared || w.OnlyRecording+w.OnlyReplay > 0
	return c, nil
}

func (w *AnswerComparison) add(o AnswerComparison) {
	w.Compared += o.Compared
	w.Equal += o.Equal
	w.OnlyRecording += o.OnlyRecording
	w.OnlyReplay += o.OnlyReplay
	if w.First == nil {
		w.First = o.First
	}
}

// side is one of the two cassettes, by operation.
type side struct {
	c      *cassette.Cassette
	all    []seen
	byName map[string][]seen
	order  []string
}

// seen is what is kept of an exchange.
type seen struct {
	id          uint64
	at          time.Time
	host        string
	op          string // with the host as it was recorded
	key         string // method, target and body: what asks for the same answer
	status      int
	body        string // SHA-256
	ttfb, total time.Duration
	answered    bool
}

// placeholder stands for a secret. Each cassette has its own salt, so that the same
// secret looks otherwise in two of them.
var placeholder = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`redacted-[0-9a-f]{4}-[0-9a-f]{16}`) })

// gather reads one side, in order of arrival.
func gather(c *cassette.Cassette) (*side, error) {
	s := &side{c: c, byName: map[string][]seen{}}
	for x, err := range c.Exchanges() {
		if err != nil {
			return nil, BadInput(err)
		}
		q := &x.Request
		target := placeholder().ReplaceAllLiteralString(q.Target, "redacted")
		s.all = append(s.all, seen{
			id: x.ID, at: x.At, host: q.Host, op: operationOf(q),
			key:    q.Method + " " + target + " " + digest(&q.Body, true),
			status: x.Response.Status, body: digest(&x.Response.Body, false),
			ttfb: ttfb(x), total: total(x), answered: answered(x),
		})
	}
	slices.SortStableFunc(s.all, func(a, b seen) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id))
	})
	return s, nil
}

// digest is the SHA-256 of a body; blind makes all placeholders one.
func digest(b *fixtures.Body, blind bool) string {
	if b.File != "" {
		return b.File
	}
	data := b.Bytes
	if blind {
		data = placeholder().ReplaceAllLiteral(data, []byte("redacted"))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// host is the only host, "" where there are several.
func (s *side) host() string {
	only := ""
	for i, e := range s.all {
		if i > 0 && e.host != only {
			return ""
		}
		only = e.host
	}
	return only
}

// group sorts the exchanges by operation. The host called from is taken for to.
func (s *side) group(from, to string) {
	for _, e := range s.all {
		name := e.op
		if from != "" {
			name = strings.Replace(name, " "+from, " "+to, 1)
		}
		if s.byName[name] == nil {
			s.order = append(s.order, name)
		}
		s.byName[name] = append(s.byName[name], e)
	}
}

func compareOperation(name string, a, b *side) (OperationComparison, error) {
	ea, eb := a.byName[name], b.byName[name]
	o := OperationComparison{Operation: name}
	o.TTFB = compareLatency(times(ea, func(e seen) time.Duration { return e.ttfb }), times(eb, func(e seen) time.Duration { return e.ttfb }))
	o.Total = compareLatency(times(ea, func(e seen) time.Duration { return e.total }), times(eb, func(e seen) time.Duration { return e.total }))
	pairs := pair(ea, eb)
	o.Answers = AnswerComparison{Compared: len(pairs), OnlyRecording: len(ea) - len(pairs), OnlyReplay: len(eb) - len(pairs)}
	for _, p := range pairs {
		if p[0].status == p[1].status && p[0].body == p[1].body {
			o.Answers.Equal++
			continue
		}
		if o.Answers.First == nil {
			d, err := explain(a.c, b.c, p[0], p[1])
			if err != nil {
				return o, err
			}
			o.Answers.First = d
		}
	}
	return o, nil
}

// pair matches exchanges up, in order: equal requests first, then what is left.
func pair(a, b []seen) [][2]seen {
	waiting := map[string][]int{}
	for i, e := range b {
		waiting[e.key] = append(waiting[e.key], i)
	}
	taken := make([]bool, len(b))
	match := make([]int, len(a))
	for i, e := range a {
		match[i] = -1
		if list := waiting[e.key]; len(list) > 0 {
			match[i], waiting[e.key] = list[0], list[1:]
			taken[list[0]] = true
		}
	}
	next := 0
	var pairs [][2]seen
	for i, e := range a {
		if match[i] < 0 {
			for next < len(b) && taken[next] {
				next++
			}
			if next == len(b) {
				continue
			}
			match[i], taken[next] = next, true
		}
		pairs = append(pairs, [2]seen{e, b[match[i]]})
	}
	return pairs
}

func times(list []seen, of func(seen) time.Duration) []time.Duration {
	var out []time.Duration
	for _, e := range list {
		if e.answered {
			out = append(out, of(e))
		}
	}
	return out
}

// compareLatency judges a replay's times (in b) by the recording's (in a, in order of arrival).
// The recording's own drift is the measure: no replay comes nearer to a recording than
// one half of it is to the other.
func compareLatency(a, b []time.Duration) LatencyComparison {
	l := LatencyComparison{Recording: latency(a), Replay: latency(b)}
	l.P50Error = relative(l.Recording.P50, l.Replay.P50)
	l.P95Error = relative(l.Recording.P95, l.Replay.P95)
	l.P99Error = relative(l.Recording.P99, l.Replay.P99)
	l.KS = timing.KS(a, b)
	l.Bound = timing.KS(a[:len(a)/2], a[len(a)/2:]) + slack
	if mean := timing.Summarize(a).Mean; mean > 0 {
		l.Wasserstein = timing.Wasserstein1(a, b) / float64(mean)
	}
	switch {
	case min(len(a), len(b)) < FewestSamples:
		l.Verdict = TimingTooFew
	case l.KS <= l.Bound:
		l.Verdict = TimingOK
	default:
		l.Verdict = TimingDiffers
	}
	return l
}

// relative is how much too long got is; 0 where there is nothing to relate to.
func relative(want, got Seconds) float64 {
	if want <= 0 {
		return 0
	}
	return math.Round((float64(got)/float64(want)-1)*1e6) / 1e6
}
