package main

import (
	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/config"
)

func newProxy() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:     "proxy [LISTEN…] [-- COMMAND ARG…]",
		Short:   "Pass traffic through, bent by rules",
		Example: "  understudy proxy --reverse :9001=http://127.0.0.1:7001 --rules brownout.yaml --seed 42",
	}
	f.add(cmd)
	f.bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.start(cmd, args, config.ModeProxy) }
	return cmd
}
