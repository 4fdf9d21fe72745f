package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/fixtures/match"
	"github.com/understudy-proxy/understudy/internal/app"
)

func newCassetteVolatile() *cobra.Command {
	var accept, risky, asJSON bool
	cmd := &cobra.Command{
		Use:   "volatile [--accept] [--risky] CASSETTE",
		Short: "Find what changes between recordings of the same call",
		Long: "Compares the repeats of each call and proposes what replay should ignore: timestamps, ids, nonces. Nothing\n" +
			"is changed without --accept, which writes the proposals into the cassette's manifest, under match.",
		Args: wantArgs("CASSETTE"),
	}
	f := cmd.Flags()
	f.BoolVar(&accept, "accept", false, "ignore them from now on")
	f.BoolVar(&risky, "risky", false, "with --accept: also those that may select the answer")
	f.BoolVar(&asJSON, "json", false, "one JSON object a proposal")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if risky && !accept {
			return app.Usage(errors.New("--risky: it only means something with --accept"))
		}
		c, err := app.OpenCassette(args[0])
		if err != nil {
			return err
		}
		warn(cmd, c.Warnings)
		if accept {
			found, taken, err := app.AcceptVolatileIn(args[0], risky)
			if err != nil {
				return err
			}
			return printProposals(cmd, found, true, risky, asJSON, len(taken))
		}
		found, err := app.Volatile(c)
		if err != nil {
			return app.BadInput(err)
		}
		return printProposals(cmd, found, false, false, asJSON, 0)
	}
	return cmd
}

func printProposals(cmd *cobra.Command, found []match.Proposal, accept, risky, asJSON bool, taken int) error {
	out := cmd.OutOrStdout()
	if asJSON {
		for _, p := range found {
			err := printJSON(out, struct {
				What      string          `json:"what"`
				Kind      match.ValueKind `json:"kind"`
				Repeats   int             `json:"repeats"`
				Distinct  int             `json:"distinct"`
				Samples   []string        `json:"samples"`
				Compared  int             `json:"pairs_compared"`
				Agreed    int             `json:"pairs_agreed"`
				MaySelect bool            `json:"may_select_the_answer"`
				Accepted  bool            `json:"accepted"`
			}{app.DescribeIgnore(p.Ignore), p.Kind, p.Repeats, p.Distinct, p.Samples, p.Compared, p.Agreed, p.MaySelect, accept && (risky || !p.MaySelect)})
			if err != nil {
				return err
			}
		}
		return nil
	}
	if len(found) == 0 {
		_, err := fmt.Fprintln(out, "nothing changes between recordings of the same call")
		return err
	}
	w := columns(out)
	_, _ = fmt.Fprintln(w, "VALUE\tLOOKS LIKE\tDISTINCT\tSAME ANSWER\tSUCH AS\t")
	for _, p := range found {
		note := ""
		if p.MaySelect {
			note = "may select the answer"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d of %d\t%d of %d\t%s\t%s\n", app.Printable(app.DescribeIgnore(p.Ignore)), p.Kind, p.Distinct, p.Repeats,
			p.Agreed, p.Compared, app.Printable(strings.Join(p.Samples, " ")), note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	line := "nothing was changed; --accept ignores them from now on"
	if accept {
		line = fmt.Sprintf("%d of %d are ignored from now on", taken, len(found))
		if taken < len(found) {
			line += "; the others may select the answer: --risky takes them, too"
		}
	}
	_, err := fmt.Fprintln(out, line)
	return err
}
