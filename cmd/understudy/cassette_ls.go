package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
)

func newCassetteLs() *cobra.Command {
	var asJSON, byOperation bool
	cmd := &cobra.Command{
		Use:   "ls CASSETTE",
		Short: "List the exchanges, or the operations",
		Args:  wantArgs("CASSETTE"),
	}
	f := cmd.Flags()
	f.BoolVar(&byOperation, "operations", false, "one line an operation, with its latencies")
	f.BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := app.OpenCassette(args[0])
		if err != nil {
			return err
		}
		warn(cmd, c.Warnings)
		out := cmd.OutOrStdout()
		if byOperation {
			ops, err := app.Operations(c)
			if err != nil {
				return err
			}
			if !asJSON {
				return printOperations(out, ops)
			}
			for _, o := range ops {
				if err := printJSON(out, o); err != nil {
					return err
				}
			}
			return nil
		}
		w := columns(out)
		if !asJSON {
			_, _ = fmt.Fprintln(w, "ID\tMETHOD\tURL\tSTATUS\tSIZE\tTTFB\tTOTAL")
		}
		for x, err := range c.Exchanges() {
			if err != nil {
				_ = w.Flush()
				return app.BadInput(err)
			}
			r := app.RowOf(x)
			if asJSON {
				if err := printJSON(out, r); err != nil {
					return err
				}
				continue
			}
			status := fmt.Sprint(r.Status)
			if r.Outcome != "complete" {
				status += " " + r.Outcome
			}
			_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%s\n", r.ID, app.Printable(r.Method), app.Printable(r.URL), status, r.Bytes, r.TTFB, r.Total)
		}
		return w.Flush()
	}
	return cmd
}
