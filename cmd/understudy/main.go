// Command understudy records production-like traffic, replays it as virtual
// dependencies, bends it with rules and measures its own overhead.
//
// One file here is one subcommand: flags and exit codes, nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/app"
)

func main() {
	app.Shim() // where this process is one
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot(first(args))
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return app.ExitOK
	}
	if exit, ok := errors.AsType[*app.ExitError](err); !ok || exit.Err != nil {
		_, _ = fmt.Fprintln(stderr, "understudy: "+place.Detail(err))
	}
	return app.ExitCode(err)
}

// commands make the subcommands, in the order of their help, by their names.
var commands = []struct {
	name string
	make func() *cobra.Command
}{
	{"record", newRecord}, {"replay", newReplay}, {"proxy", newProxy}, {"check", newCheck}, {"cassette", newCassette},
	{"shape", newShape}, {"redirect", newRedirect}, {"gate", newGate}, {"demo", newDemo}, {"doctor", newDoctor}, {"ca", newCA},
	{"gate-upstream", newGateUpstream}, {"gate-load", newGateLoad}, {"doctor-probe", newDoctorProbe},
}

// newRoot makes the program's command with the subcommand of that name, and with all
// of them where there is none: their flags take milliseconds, and one is executed.
func newRoot(name string) *cobra.Command {
	root := &cobra.Command{
		Use:   "understudy",
		Short: "Learn your dependencies, play their part, and break it on purpose",
		Long: "understudy records what your dependencies answer and how long they take, replays it without\n" +
			"them, injects faults by rule, and measures what it costs itself.\n\n" +
			"Start with `understudy demo`.",
		Version:       app.VersionText(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("understudy {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return app.Usage(fmt.Errorf("%w\nhint: %s --help", err, cmd.CommandPath()))
	})
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.HiddenDefaultCmd = true
	for _, c := range commands {
		if name != "" && c.name == name {
			root.AddCommand(c.make())
			return root
		}
	}
	for _, c := range commands {
		root.AddCommand(c.make())
	}
	return root
}

// usageArgs makes a complaint about arguments a usage error. A word that is no
// command is one, too.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err == nil {
			return nil
		}
		hint := cmd.CommandPath() + " --help"
		if near := cmd.SuggestionsFor(first(args)); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return app.Usage(fmt.Errorf("%w\nhint: %s", err, hint))
	}
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
