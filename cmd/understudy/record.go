package main

import (
	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/config"
)

func newRecord() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "record [-o DIR] [LISTEN…] [-- COMMAND ARG…]",
		Short: "Pass traffic through and keep it in a cassette",
		Example: "  understudy record -o cassettes/checkout --reverse :9001=http://127.0.0.1:7001\n" +
			"  understudy record -o cassettes/checkout --forward :8080\n" +
			"  understudy record -o cassettes/checkout -- ./app",
	}
	f.add(cmd)
	f.own.StringP("output", "o", "", "the cassette's directory: `DIR`; cassettes/TIME when not given")
	f.keys["output"] = "output"
	cmd.Flags().BoolVar(&f.more, "append", false, "add to the cassette, if it is there already")
	f.bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.start(cmd, args, config.ModeRecord) }
	return cmd
}
