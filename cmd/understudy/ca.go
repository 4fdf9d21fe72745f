package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
	"github.com/understudy-proxy/understudy/proxy/ca"
)

func newCA() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "The certificate authority that HTTPS interception uses",
		Long: "understudy has a certificate authority of your own, made at first use. A program that runs behind\n" +
			"`understudy record -- COMMAND` is told to trust it; what runs elsewhere has to be.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&dir, "dir", "", "the authority in `DIR`; the one of this user when not given")
	cmd.AddCommand(newCAPath(&dir), newCATrust(&dir), newCAUntrust(&dir))
	return cmd
}

func newCAPath(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:     "path",
		Short:   "Print the file with the authority's certificate; make both at first use",
		Example: "  curl --cacert \"$(understudy ca path)\" --proxy http://127.0.0.1:8080 https://api.example.test/",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := loadAuthority(*dir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), a.CertPath())
			return err
		},
	}
}

func newCATrust(dir *string) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Have this system trust the authority",
		Long:  "Says what it will do, and does it once you agree. Needs root.",
		Args:  usageArgs(cobra.NoArgs),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		plan, err := trustPlan(*dir)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		_, _ = fmt.Fprintf(out, "writes %s\nruns   %s\n", plan.File, strings.Join(plan.Trust, " "))
		return agreed(cmd, yes, plan.Install, "this system trusts the authority now; understudy ca untrust undoes it")
	}
	return cmd
}

func newCAUntrust(dir *string) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "untrust",
		Short: "Undo trust",
		Args:  usageArgs(cobra.NoArgs),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		plan, err := trustPlan(*dir)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		_, _ = fmt.Fprintf(out, "removes %s\nruns    %s\n", plan.File, strings.Join(plan.Untrust, " "))
		return agreed(cmd, yes, plan.Remove, "this system does not trust the authority any more")
	}
	return cmd
}

func loadAuthority(dir string) (*ca.Authority, error) {
	if dir == "" {
		var err error
		if dir, err = ca.DefaultDir(); err != nil {
			return nil, app.Setup(err)
		}
	}
	a, err := ca.Load(dir)
	return a, app.Setup(err)
}

func trustPlan(dir string) (*ca.TrustPlan, error) {
	a, err := loadAuthority(dir)
	if err != nil {
		return nil, err
	}
	plan, err := a.TrustPlan()
	return plan, app.Setup(err)
}

// agreed does what was announced, once the user agrees: by --yes, or on a terminal.
func agreed(cmd *cobra.Command, yes bool, do func(context.Context) error, done string) error {
	if !yes {
		if !isTerminal(cmd) {
			return app.Usage(errors.New("nothing was changed: there is no terminal to ask on\nhint: --yes"))
		}
		_, _ = fmt.Fprint(cmd.ErrOrStderr(), "Go on? [y/N] ")
		answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		if err != nil && answer == "" || !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
			return app.Setup(errors.New("nothing was changed"))
		}
	}
	if err := do(cmd.Context()); err != nil {
		if errors.Is(err, os.ErrPermission) && os.Geteuid() != 0 {
			// Under sudo the home, and with it the authority, would be root's.
			err = fmt.Errorf("%w\nhint: it needs root: sudo %s --yes --dir YOUR-AUTHORITY (the folder of `understudy ca path`)", err, cmd.CommandPath())
		}
		return app.Setup(err)
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), done)
	return err
}

// isTerminal reports whether there is somebody to ask.
func isTerminal(cmd *cobra.Command) bool {
	f, ok := cmd.InOrStdin().(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
