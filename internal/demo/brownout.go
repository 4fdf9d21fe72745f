package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// The share of charges that the brown-out refuses, before and after the reload.
const mild, bad = 20, 70 // percent

func brownOutRules(from, to time.Duration, percent int) string {
	return fmt.Sprintf(`rules:
  - name: payments errors
    when: request.method == "POST" && request.path == "/v1/charges"
    during: %[1]s..%[2]s
    chance: %[3]d%%
    fault:
      status: 503
      headers: {Retry-After: "1", Content-Type: application/json}
      body: '{"error":{"code":"overloaded","message":"try again later"}}'
  - name: payments slow
    when: request.path startsWith "/v1/charges"
    during: %[1]s..%[2]s
    delay: lognormal("80ms", "400ms")             # median, p99
`, from, to, percent)
}

// span is a part of the session. A visit belongs to it if it began and ended inside.
type span struct {
	name       string
	start, end time.Time // a zero end is that of the session
}

// brownOut replays once more, with rules that strike for a while, and changes
// them on the way.
func (t *tour) brownOut(ctx context.Context) error {
	t.say.heading("3 Brown-out", "payments gets slow and refuses charges, by rule")
	p := t.pace
	file, err := t.write("brownout.yaml", brownOutRules(p.from, p.to, mild))
	if err != nil {
		return err
	}
	t.say.line("  From %s to %s on the run's clock, charges take longer and %d %% of them are refused; while it", p.from, p.to, mild)
	t.say.line("  runs, brownout.yaml is edited: chance: %d%% becomes %d%%.", mild, bad)
	t.say.line("")
	args := []string{"replay", "-f", t.cassette(), "--rules", file, "--seed", fmt.Sprint(t.Seed), "--reverse", "127.0.0.1:0=" + dependency}
	t.say.command(args...)
	t.say.line("")

	var spans []span
	var after *played
	// The run's clock starts between these two.
	earliest := time.Now()
	l, _, err := t.serve(ctx, args, func(proc Process, url string) (err error) {
		latest := time.Now()
		live, edited := make(chan error, 1), [2]time.Time{}
		go func() { // ends once the rules are live, or with ctx
			var err error
			edited, err = t.edit(ctx, proc, latest.Add(p.reload), file, brownOutRules(p.from, p.to, bad))
			live <- err
		}()
		s := t.session()
		s.last = p.end
		after, err = s.play(ctx, url)
		if liveErr := <-live; err == nil {
			err = liveErr
		}
		if err != nil {
			return err
		}
		t.result.BrownOut.ReloadMilliseconds = ms(edited[1].Sub(edited[0]))
		spans = []span{
			{"before", time.Time{}, earliest.Add(p.from)},
			{fmt.Sprintf("brown-out, %d%%", mild), latest.Add(p.from), edited[0]},
			{fmt.Sprintf("brown-out, %d%%", bad), edited[1], earliest.Add(p.to)},
			{"after", latest.Add(p.to), time.Time{}},
		}
		return nil
	})
	if err != nil {
		t.check("brown-out", false, "%v", err)
		return errNotShown
	}
	r := &t.result.BrownOut
	r.Phases, r.Fired = phases(after.visits, spans), l.Ledger.Rules
	t.showBrownOut()
	return nil
}

// edit changes a rule file at a time and waits until the run says that it is
// live. It returns both moments.
func (t *tour) edit(ctx context.Context, p Process, at time.Time, file, text string) (moments [2]time.Time, err error) {
	if err := timing.SleepUntil(ctx, nil, at); err != nil {
		return moments, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	moments[0] = time.Now()
	if _, err = t.write("brownout.yaml", text); err != nil {
		return moments, err
	}
	if _, err = p.Wait(ctx, "rules_live"); err != nil {
		return moments, fmt.Errorf("edit %s: it does not become live: %w", file, err)
	}
	moments[1] = time.Now()
	return moments, nil
}

// phases are the checkouts of each span. Those across an edge belong to none.
func phases(visits []visit, spans []span) []Phase {
	var out []Phase
	for _, s := range spans {
		phase := Phase{Name: s.name}
		var times []time.Duration
		for _, v := range visits {
			inside := !v.start.Before(s.start) && (s.end.IsZero() || !v.start.Add(v.elapsed).After(s.end))
			if v.op != "checkout" || !inside {
				continue
			}
			phase.Checkouts++
			times = append(times, v.elapsed)
			if v.failed() {
				phase.Failed++
			}
		}
		phase.P95 = quantiles(times).P95
		out = append(out, phase)
	}
	return out
}

func (t *tour) showBrownOut() {
	r := &t.result.BrownOut
	rows := [][]string{{"as customers saw it", "checkouts", "success", "p95"}}
	for _, p := range r.Phases {
		rows = append(rows, []string{p.Name, fmt.Sprint(p.Checkouts), p.success(), fmt.Sprintf("%.0f ms", p.P95)})
	}
	t.say.table(rows)
	t.say.line("")
	fired := ""
	for _, f := range r.Fired {
		if fired != "" {
			fired += ", "
		}
		fired += fmt.Sprintf("%q %d times", f.Name, f.Fired)
	}
	if fired == "" {
		fired = "none"
	}
	t.check("rules fired", len(r.Fired) == 2, "%s", fired)
	t.check("the shop felt it", brownedOut(r.Phases), "%s of checkouts succeeded before, %s and %s during, %s after",
		r.Phases[0].success(), r.Phases[1].success(), r.Phases[2].success(), r.Phases[3].success())
	note := fmt.Sprintf("the edited file was live after %.0f ms, without a restart", r.ReloadMilliseconds)
	if r.ReloadMilliseconds > 100 {
		note += "; on a machine with time to spare it is within 100 ms"
	}
	t.check("reload", r.ReloadMilliseconds < 1000, "%s", note)
}

// brownedOut: none failed outside, some failed inside, and the worse rule did more.
func brownedOut(p []Phase) bool {
	return p[0].Checkouts > 0 && p[0].Failed == 0 && p[3].Checkouts > 0 && p[3].Failed == 0 &&
		p[2].Failed > 0 && p[2].share() > p[1].share()
}

// share is the part of checkouts that failed; 0 where there are none.
func (p Phase) share() float64 {
	if p.Checkouts == 0 {
		return 0
	}
	return float64(p.Failed) / float64(p.Checkouts)
}

func (p Phase) success() string {
	if p.Checkouts == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f%%", 100*(1-p.share()))
}
