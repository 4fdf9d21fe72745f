package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
)

func newCassetteCompare() *cobra.Command {
	var asJSON, fail bool
	cmd := &cobra.Command{
		Use:   "compare RECORDING REPLAY",
		Short: "Judge a replay by the recording that it played",
		Long: "Compares a recording with a recording of its replay, operation by operation: latencies, and answers byte for\n" +
			"byte in order. A timing is ok where the replay is no farther from the recording (Kolmogorov–Smirnov) than the\n" +
			"recording's first half is from its second, and 0.03; it takes 20 exchanges on both sides to tell.",
		Example: "  understudy cassette compare cassettes/checkout cassettes/checkout-replayed --fail-on-difference",
		Args:    wantArgs("RECORDING", "REPLAY"),
	}
	cmd.Flags().BoolVar(&fail, "fail-on-difference", false, "exit 99 where a timing or an answer differs, or one is missing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a, err := app.OpenCassette(args[0])
		if err != nil {
			return err
		}
		b, err := app.OpenCassette(args[1])
		if err != nil {
			return err
		}
		warn(cmd, slices.Concat(a.Warnings, b.Warnings))
		c, err := app.Compare(a, b)
		if err != nil {
			return err
		}
		if asJSON {
			err = printJSON(cmd.OutOrStdout(), c)
		} else {
			err = printComparison(cmd.OutOrStdout(), c)
		}
		if err == nil && fail && c.Differs {
			return &app.ExitError{Code: app.ExitGate}
		}
		return err
	}
	return cmd
}

func printComparison(out io.Writer, c *app.Comparison) error {
	w := columns(out)
	_, _ = fmt.Fprintln(w, "OPERATION\t\tN\tp50\tp95\tp99\tp50 ERROR\tp95\tp99\tKS\tBOUND\tW1/MEAN\tVERDICT\tSAME ANSWERS")
	for _, o := range c.Operations {
		answers := fmt.Sprintf("%d of %d", o.Answers.Equal, o.Answers.Compared)
		latencies(w, app.Printable(o.Operation), "TTFB", answers, o.TTFB)
		latencies(w, "", "total", "", o.Total)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "\nanswers: %d of %d are equal, byte for byte\n", c.Answers.Equal, c.Answers.Compared)
	if n := c.Answers.OnlyRecording; n > 0 {
		_, _ = fmt.Fprintf(out, "only in %s: %d\n", c.Recording, n)
	}
	if n := c.Answers.OnlyReplay; n > 0 {
		_, _ = fmt.Fprintf(out, "only in %s: %d\n", c.Replay, n)
	}
	if d := c.Answers.First; d != nil {
		_, _ = fmt.Fprintf(out, "the first difference: exchange %d, replayed as %d: %s: want %s, got %s\n", d.Recording, d.Replay, d.Where, d.Want, d.Got)
	}
	if c.SameHost {
		_, _ = fmt.Fprintln(out, "each side has one host; they were taken for the same")
	}
	verdict := "verdict: no difference"
	if c.Differs {
		verdict = "verdict: they differ"
	}
	_, err := fmt.Fprintln(out, verdict)
	return err
}

func latencies(w io.Writer, name, what, answers string, l app.LatencyComparison) {
	_, _ = fmt.Fprintf(w, "%s\t%s recorded\t%d\t%s\t%s\t%s\t\t\t\t\t\t\t\t\n", name, what, l.Recording.N, l.Recording.P50, l.Recording.P95, l.Recording.P99)
	_, _ = fmt.Fprintf(w, "\t%s replayed\t%d\t%s\t%s\t%s\t%+.1f%%\t%+.1f%%\t%+.1f%%\t%.3f\t%.3f\t%.3f\t%s\t%s\n", what,
		l.Replay.N, l.Replay.P50, l.Replay.P95, l.Replay.P99, 100*l.P50Error, 100*l.P95Error, 100*l.P99Error,
		l.KS, l.Bound, l.Wasserstein, l.Verdict, answers)
}
