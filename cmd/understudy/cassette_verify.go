package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/app"
)

func newCassetteVerify() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify CASSETTE…",
		Short: "Check manifest, lines, checksums and bodies",
		Long:  "Tells everything that it finds, each with its place. Exits 104 where there is damage, 0 else.",
		Args:  wantSome(0, "CASSETTE"),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a finding")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		damaged := false
		for _, path := range args {
			found, err := cassette.Verify(path)
			if err != nil {
				return app.BadInput(err)
			}
			damage := printFindings(cmd, found, asJSON)
			damaged = damaged || damage
			if !damage && !asJSON {
				_, _ = fmt.Fprintln(cmd.OutOrStdout(), "ok  "+path)
			}
		}
		if damaged {
			return &app.ExitError{Code: app.ExitBadInput}
		}
		return nil
	}
	return cmd
}

// printFindings tells what was found and whether there is damage.
func printFindings(cmd *cobra.Command, found []cassette.Finding, asJSON bool) (damage bool) {
	for _, f := range found {
		damage = damage || f.Severity == cassette.Damage
		if !asJSON {
			_, _ = fmt.Fprintln(cmd.OutOrStdout(), string(f.Severity)+": "+place.Detail(f.Error))
			continue
		}
		for _, p := range place.Findings(f.Error) {
			_ = printJSON(cmd.OutOrStdout(), struct {
				Severity cassette.Severity `json:"severity"`
				place.Found
			}{f.Severity, p})
		}
	}
	return damage
}
