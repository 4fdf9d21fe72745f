package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// The link of the tour: both ways, so that a call takes two delays at least.
const (
	linkSpec  = "delay=20ms,loss=2%,rate=20mbit"
	linkTrip  = 40 * time.Millisecond
	linkCalls = 30
)

// exitSetup is understudy's for a run that could not begin.
const exitSetup = 125

// Visited is what a client behind a link prints: see Visit.
type Visited struct {
	Fates string          `json:"fates"` // as SameSeed has them
	Took  []time.Duration `json:"took_ns"`
}

// Visit calls for rates as a program does that is run behind a link, one call after the
// other over one connection, and writes to out what came of them.
func Visit(ctx context.Context, url string, out io.Writer) error {
	c := &paymentsClient{base: url, http: newPaymentsClient()}
	defer c.http.CloseIdleConnections()
	var v Visited
	var err error
	if v.Fates, err = c.fates(ctx, linkCalls); err != nil {
		return err
	}
	for _, k := range c.made() {
		v.Took = append(v.Took, k.elapsed)
	}
	return json.NewEncoder(out).Encode(v)
}

// link replays to a client behind a link, by rules, where this machine can make one.
func (t *tour) link(ctx context.Context) error {
	t.say.heading("5 Over a link", "the same chaos, to a program far away")
	file, err := t.write("flaky.yaml", flakyRules)
	if err != nil {
		return err
	}
	t.say.line("  A command behind -- is captured, and its packets pass a link of its own, which needs no root.")
	t.say.line("  --verify sends probes and holds it against what was asked, before the command starts.")
	t.say.line("")
	args := []string{"replay", "-f", t.cassette(), "--timing", "none", "--rules", file, "--seed", fmt.Sprint(t.Seed), "--link", linkSpec, "--verify"}
	client := []string{"demo", "--visit", dependency}
	t.say.command(append(append(args, "--", "understudy"), client...)...)
	t.say.line("")
	r := &t.result.Link
	ran, v, code, err := t.behind(ctx, args, client)
	if err != nil {
		return err
	}
	r.Engine, r.Rows = ran.engine, ran.rows
	if code == exitSetup && !ran.agrees {
		// Its own words are the reason: no namespaces, or a link that is late because the
		// machine is busy, which is why nothing runs behind it.
		c := Check{Name: "link", OK: true, Open: true, Note: "not shown on this machine: " + ran.reason()}
		t.result.Checks = append(t.result.Checks, c)
		t.say.check(c)
		return nil
	}
	t.showLink()
	t.check("link", code == 0 && ran.agrees, "by %s: %d figures as asked, in %.1f s", r.Engine, len(r.Rows), ran.seconds)
	least := time.Duration(0)
	if len(v.Took) > 0 {
		least = slices.Min(v.Took)
	}
	r.Calls = quantiles(v.Took)
	same := v.Fates != "" && strings.HasPrefix(t.result.SameSeed.First, v.Fates)
	t.check("behind the link", code == 0 && len(v.Took) == linkCalls && least >= linkTrip && same,
		"%d calls took %.1f ms at least, %.1f at the median; the rules struck the same ones as before: %v", len(v.Took), ms(least), r.Calls.P50, same)
	return nil
}

// linkRun is what a run over a link told.
type linkRun struct {
	engine  string
	agrees  bool
	rows    []LinkRow
	seconds float64
	stderr  string
}

// reason is the first line that is for people, in a clause.
func (l *linkRun) reason() string {
	for line := range strings.Lines(l.stderr) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '{' {
			return strings.TrimPrefix(line, "understudy: ")
		}
	}
	return "understudy did not say why"
}

// behind runs this program as the client of a run of understudy with args.
func (t *tour) behind(ctx context.Context, args, client []string) (ran linkRun, v Visited, code int, err error) {
	all := slices.Concat(args, []string{"--json", "--admin", "off", "--log-level", "error", "--", t.Executable}, client)
	out, said, code, err := t.execute(ctx, all)
	if err != nil {
		return ran, v, code, err
	}
	ran.read(said)
	if code == 0 {
		err = json.Unmarshal(out, &v)
	}
	return ran, v, code, err
}

// read takes the link's events out of what a run said.
func (l *linkRun) read(stderr []byte) {
	l.stderr = string(stderr)
	for lines := bufio.NewScanner(bytes.NewReader(stderr)); lines.Scan(); {
		var e struct {
			Event, Engine string
			Agrees        bool
			Rows          []LinkRow
			Seconds       float64
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		switch e.Event {
		case "link":
			l.engine = e.Engine
		case "link_verified":
			l.agrees, l.rows, l.seconds = e.Agrees, e.Rows, e.Seconds
		}
	}
}

func (t *tour) showLink() {
	rows := [][]string{{"link", "", "asked", "achieved", "verdict"}}
	for _, r := range t.result.Link.Rows {
		rows = append(rows, []string{r.Direction, strings.ReplaceAll(r.What, "_", " "), r.show(r.Asked), r.show(r.Achieved), r.Verdict})
	}
	t.say.table(rows)
	t.say.line("")
}

func (r LinkRow) show(v float64) string {
	switch r.Unit {
	case "ms":
		return fmt.Sprintf("%.2f ms", v)
	case "share":
		return fmt.Sprintf("%.2f %%", 100*v)
	}
	return fmt.Sprintf("%.1f Mbit/s", v/1e6)
}
