package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/understudy-proxy/understudy/internal/app"
	"github.com/understudy-proxy/understudy/internal/gate"
)

// soakFlags are the flags of gate that --soak knows.
var soakFlags = []string{"soak", "budget", "scenario", "connections", "level", "seed", "json", "json-file", "quiet"}

// runSoak is `understudy gate --soak TIME`.
func (g *gateFlags) runSoak(cmd *cobra.Command, from *gate.Options) error {
	o, err := g.soakOptions(cmd.Flags(), from)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return app.Setup(err)
	}
	if o.Upstream = gate.CommandUpstream(exe, "gate-upstream"); !g.quietly {
		o.Progress = func(line string) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), line) }
	}
	ctx, signalled, stop := untilSignal(cmd.Context())
	defer stop()
	r, err := gate.Soak(ctx, o)
	if err != nil {
		return noVerdict(signalled(), err)
	}
	write := r.WriteText
	if g.asJSON {
		write = r.WriteJSON
	}
	if err := errors.Join(write(cmd.OutOrStdout()), toFile(g.jsonFile, os.O_TRUNC, r.WriteJSON)); err != nil {
		return app.Setup(err)
	}
	if code := gate.ExitCode(r.Verdict); code != 0 {
		return &app.ExitError{Code: code}
	}
	return nil
}

// soakOptions turns the flags into options, and refuses those of the other measurement.
func (g *gateFlags) soakOptions(flags *pflag.FlagSet, from *gate.Options) (o gate.SoakOptions, err error) {
	flags.Visit(func(f *pflag.Flag) {
		if err == nil && !slices.Contains(soakFlags, f.Name) {
			err = app.Usage(fmt.Errorf("--%s does not go with --soak\nhint: --%s do", f.Name, strings.Join(soakFlags[1:], ", --")))
		}
	})
	switch {
	case err != nil:
		return o, err
	case g.soak < 5*time.Second:
		return o, app.Usage(fmt.Errorf("--soak: want 5s or more, got %s", g.soak))
	case len(from.Connections) != 1 || from.Connections[0] < 1:
		return o, app.Usage(fmt.Errorf("--connections: want one number above 0 with --soak, got %v", from.Connections))
	case from.Level < 0 || from.Level >= 1:
		return o, app.Usage(fmt.Errorf("--level: want a number in (0, 1), got %v", from.Level))
	}
	o = gate.SoakOptions{Duration: g.soak, Connections: from.Connections[0], Level: from.Level, Seed: from.Seed, Scenarios: app.SoakScenarios()}
	if len(g.names) > 0 {
		var known []string
		for _, s := range o.Scenarios {
			known = append(known, s.Name)
		}
		for _, n := range g.names {
			if !slices.Contains(known, n) {
				return o, app.Usage(fmt.Errorf("--scenario: want one of %s with --soak, got %q", strings.Join(known, ", "), n))
			}
		}
		o.Scenarios = slices.DeleteFunc(o.Scenarios, func(s gate.SoakScenario) bool { return !slices.Contains(g.names, s.Name) })
	}
	if g.budget != "" {
		if o.Budget, err = gate.LoadBudget(g.budget); err != nil {
			return o, app.BadInput(err)
		}
	}
	return o, nil
}
