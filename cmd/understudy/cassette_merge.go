package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
)

func newCassetteMerge() *cobra.Command {
	var dst string
	cmd := &cobra.Command{
		Use:     "merge -o DIR CASSETTE…",
		Short:   "Merge cassettes into one, in order of time",
		Example: "  understudy cassette merge -o cassettes/all cassettes/monday cassettes/tuesday",
		Args:    wantSome(0, "CASSETTE"),
	}
	outputFlag(cmd, &dst)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needOutput(cmd, dst); err != nil {
			return err
		}
		if err := app.MergeCassettes(dst, args); err != nil {
			return err
		}
		return made(cmd, dst)
	}
	return cmd
}

// needOutput refuses a command without -o.
func needOutput(cmd *cobra.Command, dst string) error {
	if dst == "" {
		return app.Usage(errors.New("-o: want the cassette to write\nhint: " + cmd.CommandPath() + " --help"))
	}
	return nil
}

// made says what a new cassette holds.
func made(cmd *cobra.Command, dst string) error {
	c, err := app.OpenCassette(dst)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "cassette %s: exchanges %d, stub files %d\n", dst, c.Manifest.Counts.Exchanges, len(c.Stubs))
	return err
}
