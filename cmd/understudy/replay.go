package main

import (
	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/config"
)

func newReplay() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "replay [-f DIR|FILE]… [LISTEN…] [-- COMMAND ARG…]",
		Short: "Answer in the place of what was recorded",
		Example: "  understudy replay -f cassettes/checkout --reverse :9001=http://127.0.0.1:7001\n" +
			"  understudy replay -f stubs/hello.yaml --forward :8080 --on-miss forward",
	}
	f.add(cmd)
	f.own.StringArrayP("cassette", "f", nil, "`DIR|FILE`: a cassette's directory, a HAR file, or a file of stubs (repeatable)")
	f.keys["cassette"] = "cassettes"
	f.one("on-miss", "on_miss", "`WHAT` to do with a request that has no answer: fail, forward or record")
	f.one("timing", "timing", "`HOW` answers are timed: none, recorded or model")
	f.one("speed", "speed", "divide the recorded times by `X`")
	f.one("repeat", "repeat", "`HOW` to answer where one request was recorded several times: sequence, sample or loop")
	f.own.StringP("output", "o", "", "where --on-miss record records to: `DIR`")
	f.keys["output"] = "output"
	cmd.Flags().BoolVar(&f.more, "append", false, "add to the cassette, if it is there already")
	f.bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.start(cmd, args, config.ModeReplay) }
	return cmd
}
