package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/app"
	"github.com/understudy-proxy/understudy/internal/config"
)

func newCheck() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [FILE…]",
		Short: "Validate configuration, rules, stubs and cassettes without listening",
		Long: "Validates each FILE, and what a configuration names. A FILE is a configuration, a file or directory of\n" +
			"rules, a file of stubs, or a cassette. Without one it is " + config.FileName + " here. Every error is told, with its place.\n" +
			"Exits 0 when there is none, 104 else.",
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a file")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			if _, err := os.Stat(config.FileName); err != nil {
				return app.Usage(fmt.Errorf("nothing to check: no %s here\nhint: name files, such as understudy check rules.yaml", config.FileName))
			}
			args = []string{config.FileName}
		}
		bad := false
		for _, c := range app.Check(args) {
			bad = bad || len(c.Errors) > 0
			if asJSON {
				printCheckedJSON(cmd, c)
			} else {
				printChecked(cmd, c)
			}
		}
		if bad {
			return &app.ExitError{Code: app.ExitBadInput}
		}
		return nil
	}
	return cmd
}

func printChecked(cmd *cobra.Command, c app.Checked) {
	for _, w := range c.Warnings {
		_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+place.Detail(w))
	}
	for _, n := range c.Notes {
		_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "note: "+place.Detail(n))
	}
	for _, err := range c.Errors {
		_, _ = fmt.Fprintln(cmd.ErrOrStderr(), place.Detail(err))
	}
	if len(c.Errors) > 0 {
		return
	}
	line := "ok  " + c.Path + "  " + c.Kind
	if c.Note != "" {
		line += ": " + c.Note
	}
	_, _ = fmt.Fprintln(cmd.OutOrStdout(), line)
}

func printCheckedJSON(cmd *cobra.Command, c app.Checked) {
	out := struct {
		Path     string        `json:"path"`
		Kind     string        `json:"kind"`
		OK       bool          `json:"ok"`
		Note     string        `json:"note,omitempty"`
		Errors   []place.Found `json:"errors,omitempty"`
		Warnings []place.Found `json:"warnings,omitempty"`
		Notes    []place.Found `json:"notes,omitempty"`
	}{Path: c.Path, Kind: c.Kind, OK: len(c.Errors) == 0, Note: c.Note}
	for _, err := range c.Errors {
		out.Errors = append(out.Errors, place.Findings(err)...)
	}
	for _, err := range c.Warnings {
		out.Warnings = append(out.Warnings, place.Findings(err)...)
	}
	for _, err := range c.Notes {
		out.Notes = append(out.Notes, place.Findings(err)...)
	}
	line, err := json.Marshal(out)
	if err != nil { // strings and numbers always encode
		return
	}
	_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", line)
}
