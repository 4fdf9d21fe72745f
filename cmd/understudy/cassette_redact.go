package main

import (
	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/fixtures/redact"
	"github.com/understudy-proxy/understudy/internal/app"
)

func newCassetteRedact() *cobra.Command {
	var (
		dst    string
		config redact.Config
	)
	cmd := &cobra.Command{
		Use:   "redact -o DIR CASSETTE",
		Short: "Copy a cassette, with more secrets taken out",
		Long: "Copies a cassette and takes out what the flags name, besides the defaults and what is out already. The\n" +
			"same secret becomes the same placeholder. The original is left as it is: remove it yourself.",
		Example: "  understudy cassette redact -o cassettes/clean --header X-Session --json '$..iban' cassettes/raw",
		Args:    wantArgs("CASSETTE"),
	}
	outputFlag(cmd, &dst)
	redactFlags(cmd, &config)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needOutput(cmd, dst); err != nil {
			return err
		}
		if err := app.RedactCassette(dst, args[0], config); err != nil {
			return err
		}
		return made(cmd, dst)
	}
	return cmd
}
