package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
	"github.com/understudy-proxy/understudy/internal/gate"
)

func newGate() *cobra.Command {
	var (
		o                       gate.Options
		budget, jsonFile, junit string
		names                   []string
		asJSON, quietly         bool
	)
	cmd := &cobra.Command{
		Use:   "gate",
		Short: "Measure what understudy adds to a request, and judge it by a budget",
		Long: "Measures direct against proxied in alternating blocks, with a load and an upstream of its own, each in a\n" +
			"process of its own. Exits 0 when all is within the budget, 99 when something is not, 97 when the machine\n" +
			"is too noisy to tell.",
		Example: "  understudy gate\n  understudy gate --budget gate.yaml --junit gate.xml",
		Args:    usageArgs(cobra.NoArgs),
	}
	f := cmd.Flags()
	f.StringVar(&budget, "budget", "", "judge by the limits in `FILE`; without one nothing is judged")
	f.StringSliceVar(&names, "scenario", nil, "measure only `NAME` (repeatable): reverse, forward, record, rules")
	f.IntVar(&o.Connections, "connections", 16, "keep `N` connections open")
	f.DurationVar(&o.Block, "block", 0, "measure one side for `TIME` at a stretch (default 1s)")
	f.IntVar(&o.Pairs, "pairs", 8, "compare `N` pairs of blocks before the first verdict")
	f.IntVar(&o.MaxPairs, "max-pairs", 0, "stop at `N` pairs and say inconclusive (default four times --pairs)")
	f.Float64Var(&o.Rate, "rate", 0, "requests per `SECOND` in the latency half of a block (default a third of what the slower side can)")
	f.Uint64Var(&o.Seed, "seed", 1, "seed `N` of the intervals' resampling")
	f.StringVar(&jsonFile, "json-file", "", "write the report as JSON to `FILE`, too")
	f.StringVar(&junit, "junit", "", "write the report as JUnit XML to `FILE`, too")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	f.BoolVarP(&quietly, "quiet", "q", false, "say nothing on the way")
	f.SortFlags = false
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if budget != "" {
			b, err := gate.LoadBudget(budget)
			if err != nil {
				return app.BadInput(err)
			}
			o.Budget = b
		}
		exe, err := os.Executable()
		if err != nil {
			return app.Setup(err)
		}
		o.Load, o.Upstream = gate.CommandLoader(exe, "gate-load"), gate.CommandUpstream(exe, "gate-upstream")
		if !quietly {
			o.Progress = func(line string) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), line) }
		}
		if o.Scenarios, err = pick(app.GateScenarios(), names); err != nil {
			return app.Usage(err)
		}
		r, err := gate.Run(cmd.Context(), o)
		if err != nil {
			return app.Setup(err)
		}
		write := r.WriteText
		if asJSON {
			write = r.WriteJSON
		}
		err = errors.Join(write(cmd.OutOrStdout()), toFile(jsonFile, r.WriteJSON), toFile(junit, r.WriteJUnit))
		if err != nil {
			return app.Setup(err)
		}
		if code := gate.ExitCode(r.Verdict); code != 0 {
			return &app.ExitError{Code: code}
		}
		return nil
	}
	return cmd
}

// pick returns the named scenarios in their own order, all where none is named.
func pick(all []gate.Scenario, names []string) ([]gate.Scenario, error) {
	if len(names) == 0 {
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
			return nil, fmt.Errorf("--scenario: want one of %s, got %q", strings.Join(known, ", "), n)
		}
	}
	return picked, nil
}

// toFile writes a report to a file, or nothing where none is named.
func toFile(name string, write func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
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
