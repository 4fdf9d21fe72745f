package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

func newCassette() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cassette",
		Short: "Look into cassettes, check them, change them, judge a replay",
		Long: "What is called a cassette here is a cassette's directory, or a single file that replay takes: .ndjson,\n" +
			".har, or stubs in .yaml. Commands that write want a directory of their own, new or empty.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCassetteLs(), newCassetteShow(), newCassetteVerify(), newCassetteMerge(), newCassetteImport(),
		newCassetteExport(), newCassetteRedact(), newCassetteVolatile(), newCassetteRepair(), newCassetteCompare(), newCassetteFit())
	return cmd
}

// wantArgs takes one argument for each name, and says which is missing.
func wantArgs(names ...string) cobra.PositionalArgs {
	return usageArgs(func(_ *cobra.Command, args []string) error {
		switch n := len(args); {
		case n < len(names):
			if n+1 == len(names) {
				return fmt.Errorf("%s is missing", names[n])
			}
			return fmt.Errorf("%s are missing", strings.Join(names[n:], " and "))
		case n > len(names):
			return fmt.Errorf("unexpected argument %q", args[len(names)])
		}
		return nil
	})
}

// wantSome takes one argument or more, up to most where that is not 0.
func wantSome(most int, name string) cobra.PositionalArgs {
	return usageArgs(func(_ *cobra.Command, args []string) error {
		switch n := len(args); {
		case n == 0:
			return fmt.Errorf("%s is missing", name)
		case most > 0 && n > most:
			return fmt.Errorf("unexpected argument %q", args[most])
		}
		return nil
	})
}

// columns lines up what is written to it with tabs; Flush ends it.
func columns(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// printJSON writes v as one line.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// warn tells of what was put up with.
func warn(cmd *cobra.Command, list []*place.Error) {
	for _, w := range list {
		_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+place.Detail(w))
	}
}

// outputFlag adds -o, which the command cannot do without.
func outputFlag(cmd *cobra.Command, dst *string) {
	cmd.Flags().StringVarP(dst, "output", "o", "", "write the cassette to `DIR`, new or empty (needed)")
}

// redactFlags add to what counts as a secret.
func redactFlags(cmd *cobra.Command, c *redact.Config) {
	f := cmd.Flags()
	f.StringArrayVar(&c.Headers, "header", nil, "take out the header field `NAME` (repeatable)")
	f.StringArrayVar(&c.Query, "query", nil, "take out the query parameter `NAME` (repeatable)")
	f.StringArrayVar(&c.JSON, "json", nil, "take out what stands at `PATH` of JSON bodies, $.user.pin or a bare name (repeatable)")
	f.StringArrayVar(&c.Form, "form", nil, "take out the form field `NAME` (repeatable)")
	f.StringArrayVar(&c.Patterns, "pattern", nil, "take out what the regular expression `RE`, or its first group, matches (repeatable)")
}
