package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
)

func newCassetteExport() *cobra.Command {
	var dst, format string
	cmd := &cobra.Command{
		Use:     "export [-o FILE] CASSETTE",
		Short:   "Write the exchanges as an HTTP archive",
		Long:    "Writes the exchanges as an HTTP archive (HAR 1.2), to standard output where no file is named.",
		Example: "  understudy cassette export -o shop.har cassettes/shop",
		Args:    wantArgs("CASSETTE"),
	}
	cmd.Flags().StringVarP(&dst, "output", "o", "", "write to `FILE`, replacing it")
	cmd.Flags().StringVar(&format, "format", "har", "the file's `FORMAT`: har")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if format != "har" {
			return app.Usage(fmt.Errorf("--format: want har, got %q", format))
		}
		c, err := app.OpenCassette(args[0])
		if err != nil {
			return err
		}
		warn(cmd, c.Warnings)
		if dst == "" {
			return app.ExportHAR(cmd.OutOrStdout(), c)
		}
		return app.ExportHARFile(dst, c)
	}
	return cmd
}
