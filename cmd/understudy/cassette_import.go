package main

import (
	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/fixtures/redact"
	"github.com/understudy-proxy/understudy/internal/app"
)

func newCassetteImport() *cobra.Command {
	var (
		dst    string
		config redact.Config
	)
	cmd := &cobra.Command{
		Use:   "import -o DIR FILE.har",
		Short: "Make a cassette of an HTTP archive",
		Long: "Makes a cassette of an HTTP archive (HAR), such as a browser saves. Secrets are taken out on the way, as in\n" +
			"a recording.",
		Example: "  understudy cassette import -o cassettes/shop shop.har",
		Args:    wantArgs("FILE.har"),
	}
	outputFlag(cmd, &dst)
	redactFlags(cmd, &config)
	cmd.Flags().BoolVar(&config.Off, "keep-secrets", false, "take nothing out")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needOutput(cmd, dst); err != nil {
			return err
		}
		warnings, err := app.ImportHAR(dst, args[0], config)
		if err != nil {
			return err
		}
		warn(cmd, warnings)
		return made(cmd, dst)
	}
	return cmd
}
