package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
	"github.com/understudy-proxy/understudy/internal/config"
)

func newRedirect() *cobra.Command {
	var to string
	var forwarded, remove bool
	var lists []keyList
	cmd := &cobra.Command{
		Use:   "redirect --to PORT",
		Short: "Lead this network namespace's TCP to a transparent listener, and leave it so",
		Long: "Sets nftables rules that redirect TCP to a listener on PORT, in IPv4 and IPv6, and ends: for a container that prepares\n" +
			"the network which understudy, without any capability, then serves. The rules last as long as the network namespace, or\n" +
			"until --remove; `--install-rules` of record, replay and proxy sets rules that end by themselves. It needs CAP_NET_ADMIN.\n\n" +
			"The listener's own user must be left alone with --skip-uid, or its connections would come back to it. What is meant for\n" +
			"port 53 is left alone, and port 22 where no other --skip-port is given.",
		Example: "  understudy redirect --to 15001 --skip-uid 65532",
		Args:    usageArgs(cobra.NoArgs),
	}
	list := func(name, key, usage string) {
		lists = append(lists, keyList{name, key, cmd.Flags().StringArray(name, nil, usage)})
	}
	cmd.Flags().StringVar(&to, "to", "", "the listener's `PORT`, on the loopback or on all addresses")
	list("skip-uid", "transparent.skip_uids", "leave processes of the user `UID` alone (repeatable)")
	list("skip-port", "transparent.skip_ports", "leave `PORT`, or ports such as 8000-8999, alone (repeatable)")
	list("skip", "transparent.skip", "leave what goes to a `NETWORK` alone, such as 10.0.0.0/8 (repeatable)")
	list("port", "transparent.ports", "only this `PORT`, or these ports (repeatable)")
	cmd.Flags().BoolVar(&forwarded, "forwarded", false, "also what this machine forwards for others; the listener must be on all addresses")
	cmd.Flags().BoolVar(&remove, "remove", false, "take away what an earlier call left")
	cmd.Flags().SortFlags = false
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if remove {
			if to != "" {
				return app.Usage(errors.New("want one of --to and --remove"))
			}
			return app.RemoveRules()
		}
		if to == "" {
			return app.Usage(errors.New("--to: want the port of a transparent listener, such as 15001"))
		}
		n, err := strconv.ParseUint(strings.TrimPrefix(to, ":"), 10, 16)
		if err != nil || n == 0 {
			return app.Usage(fmt.Errorf("--to: want a port such as 15001, got %q", to))
		}
		var overrides []config.Override
		for _, l := range lists {
			for _, v := range *l.values {
				overrides = append(overrides, config.Override{Key: l.key, Value: v, From: "--" + l.flag})
			}
		}
		c, err := config.Load("", nil, overrides)
		if err != nil {
			return app.BadInput(err)
		}
		if err := app.KeepRules(c, uint16(n), forwarded); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.ErrOrStderr(), "understudy: TCP of this network namespace is led to port %d (nftables table inet %s)\n", n, app.KeptRules)
		return err
	}
	return cmd
}

// keyList is a repeatable flag that stands for a key of the configuration.
type keyList struct {
	flag, key string
	values    *[]string
}
