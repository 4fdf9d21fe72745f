package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/understudy-proxy/understudy/internal/app"
	"github.com/understudy-proxy/understudy/internal/config"
)

// runFlags are the flags that record, replay and proxy share. Each sets one key
// of the configuration; the values stay as written, so that flag, environment
// and file are read by the same code.
type runFlags struct {
	file string
	json bool
	more bool // append to a cassette that is there
	set  []string
	own  *pflag.FlagSet // those that stand for a key
	keys map[string]string
}

// add puts the flags on cmd.
func (f *runFlags) add(cmd *cobra.Command) {
	f.own, f.keys = pflag.NewFlagSet("keys", pflag.ContinueOnError), map[string]string{}
	list := func(name, key, usage string) {
		f.own.StringArray(name, nil, usage)
		f.keys[name] = key
	}
	list("forward", "listen.forward", "listen as a forward proxy on `ADDR` (repeatable)")
	list("reverse", "listen.reverse", "listen as a reverse proxy: `ADDR=URL` (repeatable)")
	list("tcp", "listen.tcp", "pass raw TCP: `ADDR=HOST:PORT` (repeatable)")
	list("transparent", "listen.transparent", "accept connections that nft or iptables redirect to `ADDR` (repeatable)")
	f.own.Bool("install-rules", false, "set nft rules that redirect TCP to --transparent, until the end (needs CAP_NET_ADMIN)")
	f.keys["install-rules"] = "transparent.install_rules"
	f.one("capture", "capture", "`HOW` a command is captured: auto, namespace or proxy")
	list("publish", "publish", "make a port of a captured command reachable: `HOST:PORT=PORT` (repeatable)")
	list("pass", "intercept.pass", "pass TLS to `HOST` on uninspected, as for pinned certificates (repeatable)")
	list("rules", "rule_files", "rules from `FILE`, or from all files of a directory (repeatable)")
	f.one("seed", "seed", "root seed of every random decision: `N`; drawn and printed when not given")
	f.one("admin", "admin.addr", "the admin API on `ADDR`, or off")
	f.one("log-level", "log.level", "`LEVEL`: debug, info, warn or error")
	f.one("link", "link", "shape both directions of a captured command's link: `SPEC`")
	f.one("down", "link.down", "shape its link toward it: `SPEC`")
	f.one("up", "link.up", "shape its link from it: `SPEC`")
	list("link-to", "link.to", "shape its link to some destinations on their own: `DEST=SPEC`, such as db.internal:5432=delay=80ms (repeatable)")
	f.one("link-engine", "link.engine", "`WHAT` shapes its link: auto, netem (the kernel) or tun (understudy itself)")
	f.own.Bool("verify", false, "probe the link before the command starts, which it does only if the link does what was asked")
	f.keys["verify"] = "link.verify"
	flags := cmd.Flags()
	flags.StringVar(&f.file, "config", "", "configuration `FILE`, such as understudy.yaml; UNDERSTUDY_CONFIG names it, too")
	flags.StringArrayVar(&f.set, "set", nil, "set any key of the configuration: `KEY=VALUE` (repeatable)")
	flags.BoolVar(&f.json, "json", false, "events as JSON objects on standard output, the log as JSON")
	flags.SortFlags = false
}

// one adds a flag that gives one key its value.
func (f *runFlags) one(name, key, usage string) {
	f.own.String(name, "", usage)
	f.keys[name] = key
}

// bind puts the keys' flags on cmd, once all are there.
func (f *runFlags) bind(cmd *cobra.Command) { cmd.Flags().AddFlagSet(f.own) }

// load reads the configuration with the flags on top; mode is what the
// subcommand stands for.
func (f *runFlags) load(mode config.Mode) (*config.Config, error) {
	overrides := []config.Override{{Key: "mode", Value: string(mode), From: "command line"}}
	if f.json {
		overrides = append(overrides, config.Override{Key: "log.format", Value: "json", From: "--json"})
	}
	for _, s := range f.set {
		o, err := config.ParseSet(s)
		if err != nil {
			return nil, app.Usage(err)
		}
		overrides = append(overrides, o)
	}
	f.own.VisitAll(func(flag *pflag.Flag) {
		if !flag.Changed {
			return
		}
		from := "--" + flag.Name
		if flag.Shorthand != "" {
			from = "-" + flag.Shorthand
		}
		values := []string{flag.Value.String()}
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			overrides = append(overrides, config.Override{Key: f.keys[flag.Name], Value: v, From: from})
		}
	})
	file := f.file
	if file == "" {
		file = os.Getenv("UNDERSTUDY_CONFIG")
	}
	c, err := config.Load(file, os.Environ(), overrides)
	if err != nil {
		return nil, app.BadInput(err)
	}
	return c, nil
}

// start runs what the configuration says, with the command after "--" if there is one.
func (f *runFlags) start(cmd *cobra.Command, args []string, mode config.Mode) error {
	if dash := cmd.ArgsLenAtDash(); len(args) > 0 && dash != 0 {
		return app.Usage(fmt.Errorf("unexpected argument %q\nhint: the program to capture goes behind --: %s -- %s", args[0], cmd.CommandPath(), args[0]))
	}
	c, err := f.load(mode)
	if err != nil {
		return err
	}
	code, err := app.Run(cmd.Context(), app.Options{
		Config: c, Command: args, JSON: f.json, Append: f.more,
		Stdin: cmd.InOrStdin(), Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr(),
	})
	if err == nil && code == app.ExitOK {
		return nil
	}
	return &app.ExitError{Code: code, Err: err}
}
