package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
)

func newCassetteFit() *cobra.Command {
	var dry, asJSON bool
	cmd := &cobra.Command{
		Use:   "fit [--dry-run] CASSETTE",
		Short: "Fit timing models, for latencies and capacity under other loads",
		Long: "Finds how the recorded dependency serves: with how many servers, in order or sharing them, and what each\n" +
			"request asks of them. replay --timing model then queues and saturates as the dependency did, also under loads\n" +
			"that were never recorded. Record at two or three loads, the highest one so high that latency rises: a recording\n" +
			"that cannot tell is refused a capacity, and says what it lacks. Where requests were refused with 429, or 503 with\n" +
			"Retry-After, it finds the rate limit, which refuses in a replay as it did there. All goes into the cassette's manifest.",
		Example: "  understudy cassette fit cassettes/checkout\n" +
			"  understudy replay -f cassettes/checkout --timing model --reverse :9001=http://127.0.0.1:7001",
		Args: wantArgs("CASSETTE"),
	}
	f := cmd.Flags()
	f.BoolVar(&dry, "dry-run", false, "write nothing")
	f.BoolVar(&asJSON, "json", false, "one JSON object a model, then one a rate limit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := app.OpenCassette(args[0])
		if err != nil {
			return err
		}
		warn(cmd, c.Warnings)
		fit, err := app.FitModels(args[0], dry)
		if err != nil {
			return err
		}
		if fit.Left > 0 {
			_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s: exchanges that rules had delayed are left out: %d\n", args[0], fit.Left)
		}
		if asJSON {
			for i := range fit.Models {
				if err := printJSON(cmd.OutOrStdout(), fit.Models[i]); err != nil {
					return err
				}
			}
			for i := range fit.Limits {
				if err := printJSON(cmd.OutOrStdout(), fit.Limits[i]); err != nil {
					return err
				}
			}
			return nil
		}
		for i := range fit.Models {
			if err := printFitted(cmd.OutOrStdout(), &fit.Models[i]); err != nil {
				return err
			}
		}
		for i := range fit.Limits {
			if err := printFittedLimit(cmd.OutOrStdout(), &fit.Limits[i]); err != nil {
				return err
			}
		}
		line := fmt.Sprintf("written to %s; play it with: understudy replay -f %s --timing model", args[0], args[0])
		if dry {
			line = "nothing was written"
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), line)
		return err
	}
	return cmd
}

func printFitted(out io.Writer, f *app.Fitted) error {
	for _, o := range f.Operations {
		_, _ = fmt.Fprintln(out, app.Printable(o))
	}
	w := columns(out)
	say := func(name, format string, args ...any) { _, _ = fmt.Fprintf(w, "  "+name+"\t"+format+"\n", args...) }
	say("exchanges", "%d", f.Exchanges)
	say("served", "%s", f.Model)
	if f.Capacity > 0 {
		say("capacity", "%.4g a second", f.Capacity)
	}
	sayQuality(say, f.Quality, f.Score, "off by %.1f %% where it was not fitted", f.Why)
	if err := w.Flush(); err != nil {
		return err
	}
	if len(f.Levels) > 0 {
		w = columns(out)
		_, _ = fmt.Fprintln(w, "  LOAD\tEXCHANGES\tIN FLIGHT\tp50 RECORDED\tMODEL\tp95 RECORDED\tMODEL\tp99 RECORDED\tMODEL")
		for _, l := range f.Levels {
			_, _ = fmt.Fprintln(w, strings.Join([]string{
				fmt.Sprintf("  %.4g/s", l.Rate), fmt.Sprint(l.Exchanges), fmt.Sprintf("%.3g", l.InFlight),
				l.Recorded.P50.String(), l.Simulated.P50.String(), l.Recorded.P95.String(), l.Simulated.P95.String(),
				l.Recorded.P99.String(), l.Simulated.P99.String(),
			}, "\t"))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out)
	return err
}

func printFittedLimit(out io.Writer, f *app.FittedLimit) error {
	for _, o := range f.Operations {
		_, _ = fmt.Fprintln(out, app.Printable(o))
	}
	w := columns(out)
	say := func(name, format string, args ...any) { _, _ = fmt.Fprintf(w, "  "+name+"\t"+format+"\n", args...) }
	say("exchanges", "%d, %d refused", f.Exchanges, f.Refused)
	say("rate limit", "%s", f.Limit)
	sayQuality(say, f.Quality, f.Score, "%.1f %% of what is accepted comes at another time", f.Why)
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out)
	return err
}

// sayQuality says how far a fit can be relied on. off tells what its score, in per cent, means.
func sayQuality(say func(name, format string, args ...any), quality string, score float64, off, why string) {
	if score > 0 {
		quality += "; " + fmt.Sprintf(off, 100*score)
	}
	say("quality", "%s", quality)
	if why != "" {
		say("why", "%s", why)
	}
}
