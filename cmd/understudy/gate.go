package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
	"github.com/understudy-proxy/understudy/internal/gate"
)

// gateFlags are what `understudy gate` is told besides its Options.
type gateFlags struct {
	budget, baseline        string
	names                   []string
	url, via, proxied       string
	ca, protocol            string
	like                    gate.Endpoint
	jsonFile, junit         string
	markdown, html          string
	asJSON, quietly, github bool
	ci, together            bool
	soak                    time.Duration
	remove                  func() error // of the copies that run; nil for none
}

func newGate() *cobra.Command {
	var o gate.Options
	var g gateFlags
	cmd := &cobra.Command{
		Use:   "gate",
		Short: "Measure what understudy adds to a request, and judge it by a budget",
		Long: "Measures direct against proxied, or an earlier build against this one, in alternating blocks, with a load\n" +
			"and an upstream of its own, each in a process of its own. Exits 0 when all is within the budget, 99 when\n" +
			"something is not, 97 when the machine is too noisy to tell. Without a limit nothing is judged.",
		Example: "  understudy gate\n  understudy gate --budget gate.yaml --junit gate.xml\n" +
			"  understudy gate --budget gate.yaml --baseline ./understudy-main --ci\n" +
			"  understudy gate --url http://127.0.0.1:7001/health --via http://127.0.0.1:8080\n" +
			"  understudy gate --soak 1h --json-file soak.json",
		Args: usageArgs(cobra.NoArgs),
	}
	f := cmd.Flags()
	f.StringVar(&g.budget, "budget", "", "judge by the limits in `FILE`; without one nothing is judged")
	f.StringSliceVar(&g.names, "scenario", nil, "measure only `NAME` (repeatable), or all: "+strings.Join(gateNames(), ", "))
	f.IntSliceVar(&o.Connections, "connections", []int{16}, "keep `N` connections open; several numbers are measured one after the other: 1,16,64")
	f.StringVar(&g.baseline, "baseline", "", "compare with the understudy at `PATH` instead of with going direct")
	f.BoolVar(&g.together, "together", false, "with --baseline: load both builds at once, all on one CPU: tells CPU time apart much sooner, and says nothing about throughput")
	f.StringVar(&g.url, "url", "", "measure a way of your own to `URL`")
	f.StringVar(&g.via, "via", "", "with --url: through the forward proxy at `URL`")
	f.StringVar(&g.proxied, "proxied", "", "with --url: `URL` is the same behind your reverse proxy")
	f.StringArrayVar(&g.like.Header, "header", nil, "with --url: send the field `NAME: VALUE`, too (repeatable)")
	f.StringVar(&g.ca, "ca-file", "", "with --url: verify https by the PEM certificates in `FILE`")
	f.StringVar(&g.protocol, "protocol", "", "with --url: speak `NAME`: http/1.1, which is the default, or h2")
	f.IntVar(&g.like.PID, "pid", 0, "with --via or --proxied: `PID` of your proxy on this machine, for its CPU time and memory")
	f.DurationVar(&o.Block, "block", 0, "measure one side for `TIME` at a stretch (default 1s)")
	f.IntVar(&o.Pairs, "pairs", 8, "compare `N` pairs of blocks before the first verdict")
	f.IntVar(&o.MaxPairs, "max-pairs", 0, "stop at `N` pairs and say inconclusive (default four times --pairs)")
	f.Float64Var(&o.Rate, "rate", 0, "requests per `SECOND` in the latency half of a block (default a third of what the slower side can)")
	f.Float64Var(&o.Level, "level", 0, "confidence in a verdict, in (0, 1): `LEVEL` (default 0.95)")
	f.Uint64Var(&o.Seed, "seed", 1, "seed `N` of the intervals' resampling")
	f.BoolVar(&g.ci, "ci", false, "for builds: level 0.99, up to eight times --pairs, annotations and a summary on GitHub; inconclusive warns and exits 0")
	f.DurationVar(&g.soak, "soak", 0, "instead of costs: load for `TIME` with faults, at half of what the machine can do, and judge whether memory, descriptors, goroutines and threads stay level")
	f.StringVar(&g.jsonFile, "json-file", "", "write the report as JSON to `FILE`, too")
	f.StringVar(&g.junit, "junit", "", "write the report as JUnit XML to `FILE`, too")
	f.StringVar(&g.markdown, "markdown", "", "append the report as Markdown to `FILE`, such as a job's summary")
	f.StringVar(&g.html, "html", "", "write the report as a page with the distributions to `FILE`, too")
	f.BoolVar(&g.github, "github", false, "print GitHub annotations, too")
	f.BoolVar(&g.asJSON, "json", false, "print the report as JSON")
	f.BoolVarP(&g.quietly, "quiet", "q", false, "say nothing on the way")
	f.SortFlags = false
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.Changed("soak") {
			return g.runSoak(cmd, &o)
		}
		exe, err := os.Executable()
		if err != nil {
			return app.Setup(err)
		}
		ctx, signalled, stop := untilSignal(cmd.Context())
		defer stop()
		if err := g.prepare(exe, &o); err != nil {
			return err
		}
		if g.remove != nil {
			defer func() { _ = g.remove() }() // a directory of the temporary ones
		}
		if !g.quietly {
			o.Progress = func(line string) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), line) }
		}
		r, err := measureGate(ctx, exe, o)
		if err != nil {
			return noVerdict(signalled(), err)
		}
		if err := g.report(cmd.OutOrStdout(), cmd.ErrOrStderr(), r); err != nil {
			return app.Setup(err)
		}
		code := gate.ExitCode(r.Verdict)
		if g.ci && r.Verdict == gate.Inconclusive {
			_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "warning: this machine is too noisy to tell; --ci lets it pass")
			code = 0
		}
		if code != 0 {
			return &app.ExitError{Code: code}
		}
		return nil
	}
	return cmd
}

// noVerdict is the error of a gate that ended with err: where a signal did that, what came
// of it here and there says nothing.
func noVerdict(by syscall.Signal, err error) error {
	if by != 0 {
		return &app.ExitError{Code: 128 + int(by), Err: fmt.Errorf("gate: ended by a signal (%s) before there was a verdict", by)}
	}
	return app.Setup(err)
}

func measureGate(ctx context.Context, exe string, o gate.Options) (r *gate.Report, err error) {
	load, stop := gate.CommandLoader(exe, "gate-load")
	other, stopOther := gate.CommandLoader(exe, "gate-load")
	defer func() {
		if e := errors.Join(stop(), stopOther()); ctx.Err() == nil {
			err = errors.Join(err, e)
		}
	}()
	o.Load, o.Other = load, other
	if o.Together {
		undo, err := gate.OneCPU()
		if err != nil {
			return nil, err
		}
		defer func() { _ = undo() }() // it ends soon, and did what it was for
	}
	if o.Upstream == nil {
		o.Upstream = gate.CommandUpstream(exe, "gate-upstream")
	}
	return gate.Run(ctx, o)
}

// gateNames are the scenarios' names.
func gateNames() []string {
	var names []string
	for _, s := range app.GateScenarios() {
		names = append(names, s.Name)
	}
	return names
}

// defaultScenarios are measured where neither --scenario nor a budget names any.
var defaultScenarios = []string{"reverse", "forward", "record", "rules"}

// prepare turns the flags into options. exe is this program.
func (g *gateFlags) prepare(exe string, o *gate.Options) error {
	if g.budget != "" {
		b, err := gate.LoadBudget(g.budget)
		if err != nil {
			return app.BadInput(err)
		}
		o.Budget = b
	}
	o.Known = append(gateNames(), app.GateURLName)
	if err := o.Budget.Check(o.Known); err != nil {
		return app.BadInput(err)
	}
	if g.ci {
		if o.Level == 0 {
			o.Level = 0.99
		}
		if o.MaxPairs == 0 {
			o.MaxPairs = 8 * o.Pairs
		}
		g.github = g.github || os.Getenv("GITHUB_ACTIONS") == "true"
		if g.markdown == "" {
			g.markdown = os.Getenv("GITHUB_STEP_SUMMARY")
		}
	}
	if err := g.check(o); err != nil {
		return app.Usage(err)
	}
	for _, f := range []struct{ name, file string }{{"--json-file", g.jsonFile}, {"--junit", g.junit}, {"--markdown", g.markdown}, {"--html", g.html}} {
		if err := writable(f.file); err != nil { // said before minutes of measuring
			return app.Setup(fmt.Errorf("%s: %w", f.name, err))
		}
	}
	g.like.HTTP2 = g.protocol == "h2"
	if g.ca != "" {
		pem, err := os.ReadFile(g.ca)
		if err != nil {
			return app.BadInput(fmt.Errorf("--ca-file: %w", err))
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return app.BadInput(fmt.Errorf("--ca-file: %s: want certificates in PEM, found none\nhint: they begin with -----BEGIN CERTIFICATE-----", g.ca))
		}
		g.like.Roots = string(pem)
	}
	if g.url != "" {
		o.Scenarios, o.Upstream = []gate.Scenario{app.GateURL(g.url, g.via, g.proxied, g.like)}, gate.NoUpstream
		return nil
	}
	if g.baseline != "" {
		if info, err := os.Stat(g.baseline); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return app.BadInput(fmt.Errorf("--baseline: want a program, got %s", g.baseline))
		}
		if filepath.Base(g.baseline) == g.baseline { // a file here, not one of PATH
			g.baseline = "." + string(filepath.Separator) + g.baseline
		}
		o.Against, o.Together = gate.AgainstBaseline, g.together
	}
	names := g.names
	if len(names) == 0 && o.Budget != nil {
		names = slices.DeleteFunc(o.Budget.Names(), func(n string) bool { return n == app.GateURLName })
	}
	if len(names) == 0 {
		names = defaultScenarios
	}
	var err error
	if o.Scenarios, err = pick(app.GateScenarios(), names); err != nil {
		return app.Usage(err)
	}
	if g.baseline != "" {
		var programs []app.Compared
		if programs, g.remove, err = app.SideBySide(exe, g.baseline); err != nil {
			return app.Setup(fmt.Errorf("--baseline: %w", err))
		}
		o.Scenarios, err = pick(app.GateScenarios(programs...), names)
	}
	return err
}

// Beyond these nothing would end.
const (
	mostPairs = 100_000
	mostRate  = 1_000_000
)

// check refuses flags that do not go together.
func (g *gateFlags) check(o *gate.Options) error {
	ofURL := g.via != "" || g.proxied != "" || g.ca != "" || len(g.like.Header) > 0 || g.protocol != "" || g.like.PID != 0
	for _, f := range []struct{ name, value string }{{"--url", g.url}, {"--via", g.via}, {"--proxied", g.proxied}} {
		if f.value == "" {
			continue
		}
		if u, err := url.Parse(f.value); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("%s: want a URL such as http://127.0.0.1:7001/, got %q", f.name, f.value)
		} else if u.User != nil {
			return fmt.Errorf("%s: want a URL without a password, got %q\nhint: --header 'Authorization: Basic …' sends one to --url", f.name, u.Redacted())
		}
	}
	for _, f := range g.like.Header {
		if err := gate.CheckField(f); err != nil {
			return fmt.Errorf("--header: %w", err)
		}
	}
	switch {
	case g.url == "" && ofURL:
		return errors.New("--via, --proxied, --header, --ca-file, --protocol and --pid belong to --url\nhint: --url URL --via PROXY")
	case strings.HasPrefix(g.via, "https:"):
		return fmt.Errorf("--via: want an http URL of a forward proxy, got %q\nhint: the way to the proxy is plain; what goes through it may be https", g.via)
	case g.via != "" && g.proxied != "":
		return errors.New("--via and --proxied: want one of them")
	case !slices.Contains([]string{"", "http/1.1", "h2"}, g.protocol):
		return fmt.Errorf("--protocol: want http/1.1 or h2, got %q", g.protocol)
	case g.like.PID != 0 && g.via == "" && g.proxied == "":
		return errors.New("--pid belongs to --via or --proxied: the process of your proxy")
	case g.together && g.baseline == "":
		return errors.New("--together belongs to --baseline")
	case g.url != "" && (g.baseline != "" || len(g.names) > 0):
		return errors.New("--url has no --scenario and no --baseline")
	case slices.Min(append([]int{1}, o.Connections...)) < 1 || len(o.Connections) == 0:
		return fmt.Errorf("--connections: want numbers above 0, got %v", o.Connections)
	case o.Block < 0 || o.Block > 0 && o.Block < 20*time.Millisecond:
		return fmt.Errorf("--block: want 20ms or more, got %s", o.Block)
	case o.Pairs < 1 || o.Pairs > mostPairs:
		return fmt.Errorf("--pairs: want 1 to %d, got %d", mostPairs, o.Pairs)
	case o.MaxPairs != 0 && (o.MaxPairs < o.Pairs || o.MaxPairs > mostPairs):
		return fmt.Errorf("--max-pairs: want --pairs, which is %d, to %d, got %d", o.Pairs, mostPairs, o.MaxPairs)
	case !(o.Rate >= 0 && o.Rate <= mostRate):
		return fmt.Errorf("--rate: want requests per second, up to %d, got %v", mostRate, o.Rate)
	case !(o.Level >= 0 && o.Level < 1):
		return fmt.Errorf("--level: want a number in (0, 1), got %v", o.Level)
	}
	return nil
}

// report writes r everywhere it is wanted.
func (g *gateFlags) report(stdout, stderr io.Writer, r *gate.Report) error {
	write := r.WriteText
	if g.asJSON {
		write = r.WriteJSON
	}
	err := write(stdout)
	if g.github { // with --json, standard output is one document
		to := stdout
		if g.asJSON {
			to = stderr
		}
		err = errors.Join(err, r.WriteGitHub(to))
	}
	const anew, added = os.O_TRUNC, os.O_APPEND
	return errors.Join(err, toFile(g.jsonFile, anew, r.WriteJSON), toFile(g.junit, anew, r.WriteJUnit),
		toFile(g.markdown, added, r.WriteMarkdown), toFile(g.html, anew, r.WriteHTML))
}

// pick returns the named scenarios in their own order; "all" names all.
func pick(all []gate.Scenario, names []string) ([]gate.Scenario, error) {
	if slices.Contains(names, "all") {
		return all, nil
	}
	var known []string
	var picked []gate.Scenario
	for _, s := range all {
		known = append(known, s.Name)
		if slices.Contains(names, s.Name) {
			picked = append(picked, s)
		}
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("--scenario: want one of %s or all, got %q", strings.Join(known, ", "), n)
		}
	}
	return picked, nil
}

// writable refuses a file, where one is named, that has no directory or is one.
func writable(name string) error {
	if name == "" {
		return nil
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return fmt.Errorf("want a file, got the directory %s", name)
	}
	if info, err := os.Stat(filepath.Dir(name)); err != nil || !info.IsDir() {
		return fmt.Errorf("want a file in a directory that is there, got %s", name)
	}
	return nil
}

// toFile writes a report to a file, or nothing where none is named.
func toFile(name string, how int, write func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|how, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// newGateUpstream and newGateLoad are the gate's own processes.
func newGateUpstream() *cobra.Command {
	return &cobra.Command{
		Use: "gate-upstream", Hidden: true, Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return gate.UpstreamMain(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), gate.UpstreamOptions{})
		},
	}
}

func newGateLoad() *cobra.Command {
	return &cobra.Command{
		Use: "gate-load", Hidden: true, Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return gate.LoadMain(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
