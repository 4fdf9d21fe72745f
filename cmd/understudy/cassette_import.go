package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
)

func newCassetteImport() *cobra.Command {
	var (
		dst string
		o   app.ImportOptions
	)
	cmd := &cobra.Command{
		Use:   "import -o DIR FILE|FOLDER",
		Short: "Make a cassette of an HTTP archive, or of WireMock's mappings",
		Long: "Makes a cassette of an HTTP archive (HAR), such as a browser saves; secrets are taken out on the way, as in\n" +
			"a recording. Or of WireMock's stub mappings: the folder with mappings and __files, or the JSON that its admin\n" +
			"API lists at /__admin/mappings. They become stubs to go on editing; what has no equivalent is named and left out.",
		Example: "  understudy cassette import -o cassettes/shop shop.har\n" +
			"  understudy cassette import -o cassettes/orders src/test/resources",
		Args: wantArgs("FILE|FOLDER"),
	}
	outputFlag(cmd, &dst)
	redactFlags(cmd, &o.Redact)
	f := cmd.Flags()
	f.BoolVar(&o.Redact.Off, "keep-secrets", false, "take nothing out")
	f.BoolVar(&o.Strict, "strict", false, "where something would be left out, write nothing and exit 104")
	f.BoolVar(&o.Templates, "wiremock-global-templates", false, "WireMock ran with --global-response-templating")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needOutput(cmd, dst); err != nil {
			return err
		}
		done, err := app.ImportCassette(dst, args[0], o)
		if err != nil {
			return err
		}
		if done.Format == "wiremock" {
			for _, name := range []string{"header", "query", "json", "form", "pattern"} {
				if f.Changed(name) {
					_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "warning: --%s: stubs are not redacted\n", name)
				}
			}
		}
		warn(cmd, done.Warnings)
		if done.Format == "wiremock" {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: mappings %d of %d, stubs %d\n", args[0], done.Brought, done.Mappings, done.Stubs); err != nil {
				return err
			}
		}
		return made(cmd, dst)
	}
	return cmd
}
