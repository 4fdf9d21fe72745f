package demo

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// replay runs the same session against the cassette, and compares.
func (t *tour) replay(ctx context.Context) error {
	if t.recorded != nil {
		if err := t.recorded(t.cassette()); err != nil {
			return err
		}
	}
	t.say.heading("2 Replay", "the same session, without payments")
	args := []string{"replay", "-f", t.cassette(), "--reverse", "127.0.0.1:0=" + dependency}
	t.say.command(args...)
	t.say.line("")
	var after *played
	l, code, err := t.serve(ctx, args, func(_ Process, url string) (err error) {
		after, err = t.session().play(ctx, url)
		return err
	})
	if err != nil {
		t.check("replay", false, "%v", err)
		return errNotShown
	}
	r := &t.result.Replay
	r.Hits, r.Misses, r.OwnMicroseconds = l.Ledger.Exchanges.Sources["hit"], l.Ledger.Exchanges.Sources["miss"], l.own()
	pairs := pair(t.before.calls, after.calls)
	t.result.Operations = compare(pairs)
	r.Late, r.Events = late(pairs)
	t.showOperations()
	t.say.line("")
	r.Checkout.Recorded, r.Checkout.Replayed = checkouts(t.before.visits), checkouts(after.visits)
	t.say.line("  For customers a checkout took %.0f / %.0f / %.0f ms, and now takes %.0f / %.0f / %.0f ms.", r.Checkout.Recorded.P50, r.Checkout.Recorded.P95,
		r.Checkout.Recorded.P99, r.Checkout.Replayed.P50, r.Checkout.Replayed.P95, r.Checkout.Replayed.P99)
	t.say.line("  The streams' events come one by one: half within %.1f ms of their recorded moment, 99 %% within %.1f ms.", r.Events.P50, r.Events.P99)
	t.say.line("")

	identical := 0
	for _, o := range t.result.Operations {
		identical += o.Identical
	}
	n := len(t.before.calls)
	t.check("hits", code == 0 && r.Misses == 0 && r.Hits == n && len(after.calls) == n, "%d of %d calls, %d misses, exit code %d", r.Hits, n, r.Misses, code)
	t.check("same bytes", identical == n, "%d of %d answers, status and body", identical, n)
	wrong := offRhythm(t.result.Operations)
	note := fmt.Sprintf("half of the calls within %.1f ms of their own recorded time, 99 %% within %.1f ms", r.Late.P50, r.Late.P99)
	if wrong != "" {
		note = wrong
	}
	t.check("same rhythm", wrong == "", "%s", note)
	return nil
}

// pairs are the calls of two sessions that belong together; the second one's
// op is "" where it was not made again.
type pairs [][2]call

func pair(before, after []call) pairs {
	type key struct{ op, step string }
	again := map[key]call{}
	for _, c := range after {
		again[key{c.op, c.step}] = c
	}
	var list pairs
	for _, c := range before {
		list = append(list, [2]call{c, again[key{c.op, c.step}]})
	}
	return list
}

// compare sums the pairs up by operation, in order of names.
func compare(list pairs) []Operation {
	rows := map[string]*Operation{}
	times := map[string]*[2][]time.Duration{}
	for _, p := range list {
		o := rows[p[0].op]
		if o == nil {
			o = &Operation{Name: p[0].op}
			rows[o.Name], times[o.Name] = o, &[2][]time.Duration{}
		}
		o.Count++
		times[o.Name][0] = append(times[o.Name][0], p[0].elapsed)
		again := &p[1]
		if again.op == "" || again.err != nil {
			continue
		}
		times[o.Name][1] = append(times[o.Name][1], again.elapsed)
		if again.missed {
			o.Misses++
			continue
		}
		o.Hits++
		if again.status == p[0].status && again.digest == p[0].digest {
			o.Identical++
		}
	}
	var out []Operation
	for name, o := range rows {
		o.Recorded, o.Replayed = quantiles(times[name][0]), quantiles(times[name][1])
		o.OffBy = o.Recorded.offBy(o.Replayed)
		out = append(out, *o)
	}
	slices.SortFunc(out, func(a, b Operation) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// late is how far each call, and each event of a stream, was from its own recorded time.
func late(list pairs) (calls, events Quantiles) {
	var c, e []time.Duration
	for _, p := range list {
		if p[1].op == "" {
			continue
		}
		c = append(c, (p[1].elapsed - p[0].elapsed).Abs())
		for i := range min(len(p[0].frames), len(p[1].frames)) {
			e = append(e, (p[1].frames[i] - p[0].frames[i]).Abs())
		}
	}
	return quantiles(c), quantiles(e)
}

// checkouts are the times of a session's checkouts, as customers saw them.
func checkouts(visits []visit) Quantiles {
	var times []time.Duration
	for _, v := range visits {
		if v.op == "checkout" {
			times = append(times, v.elapsed)
		}
	}
	return quantiles(times)
}

// Replay keeps recorded times to about a millisecond where the machine has time
// for it. It may not have, the tail least of all: what is judged is only what a wrong
// replay does, such as one that answers at once.
var rhythm = []struct {
	at    func(Quantiles) float64
	part  float64 // of the recorded quantile
	least float64 // ms
}{
	{func(q Quantiles) float64 { return q.P50 }, 0.3, 25},
	{func(q Quantiles) float64 { return q.P95 }, 0.5, 60},
}

// offRhythm names the first operation whose replayed p50 or p95 is not the recorded one; "" for none.
func offRhythm(list []Operation) string {
	for _, o := range list {
		for _, r := range rhythm {
			recorded, replayed := r.at(o.Recorded), r.at(o.Replayed)
			if math.Abs(replayed-recorded) > max(r.least, r.part*recorded) {
				return fmt.Sprintf("%s: recorded %.1f ms, replayed %.1f ms", o.Name, recorded, replayed)
			}
		}
	}
	return ""
}

func (t *tour) showOperations() {
	rows := [][]string{{"call", "n", "recorded p50/p95/p99", "replayed p50/p95/p99", "off by", "hits", "misses", "same bytes"}}
	three := func(q Quantiles) string { return fmt.Sprintf("%.1f / %.1f / %.1f ms", q.P50, q.P95, q.P99) }
	for _, o := range t.result.Operations {
		rows = append(rows, []string{
			o.Name, fmt.Sprint(o.Count), three(o.Recorded), three(o.Replayed),
			strings.Join([]string{percent(o.OffBy.P50), percent(o.OffBy.P95), percent(o.OffBy.P99)}, " "),
			fmt.Sprint(o.Hits), fmt.Sprint(o.Misses), fmt.Sprint(o.Identical),
		})
	}
	t.say.table(rows)
}

func percent(part float64) string { return fmt.Sprintf("%+.1f%%", 100*part) }
