package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
	"github.com/understudy-proxy/understudy/shaping"
)

func newShape() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shape",
		Short: "Shape a link of this host, a container or a process",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newShapeShow(), newShapeSet(), newShapeClear(), newShapeWatch())
	return cmd
}

// addWhere adds the flags that name a network namespace.
func addWhere(cmd *cobra.Command, w *app.Where) {
	cmd.Flags().IntVar(&w.PID, "pid", 0, "a link of the process `PID`'s network namespace")
	cmd.Flags().StringVar(&w.Container, "container", "", "a link of the container `NAME`")
	cmd.Flags().StringVar(&w.NetNS, "netns", "", "a link of the network namespace `NAME`, or a path")
}

// openSwept opens the namespace and restores in it what dead watchers left.
func openSwept(cmd *cobra.Command, w app.Where) (namespace *os.File, name string, err error) {
	if namespace, name, err = w.Open(cmd.Context()); err != nil {
		return nil, "", err
	}
	swept, err := shaping.SweepLeases(shaping.LeaseDir(), namespace)
	for _, l := range swept {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "understudy: restored %s, whose watcher had been killed\n", l.Found.Interface)
	}
	if err != nil { // nothing that stands in the way of this command
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "understudy: sweep: %s\n", err)
	}
	return namespace, name, nil
}

func newShapeShow() *cobra.Command {
	var asJSON bool
	var where app.Where
	cmd := &cobra.Command{
		Use:   "show [LINK]",
		Short: "Show what the links have: netem, htb, tbf and others",
		Args:  usageArgs(cobra.MaximumNArgs(1)),
	}
	addWhere(cmd, &where)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a link")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		namespace, _, err := openSwept(cmd, where)
		if err != nil {
			return err
		}
		names := args
		if len(args) == 0 {
			links, err := shaping.Interfaces(namespace)
			if err != nil {
				return app.Setup(err)
			}
			for _, l := range links {
				names = append(names, l.Name)
			}
		}
		for _, name := range names {
			s, err := shaping.Show(shaping.Target{Namespace: namespace, Interface: name})
			if err != nil {
				return app.Setup(err)
			}
			v := viewOf(s)
			if l, err := app.FindLease(namespace, name); err == nil && l != nil {
				v.Lease = &leaseView{Spec: l.Link, StartedAt: l.StartedAt, EndsAt: l.EndsAt}
				classes, err := shaping.ShowClasses(shaping.Target{Namespace: namespace}, l)
				if err != nil {
					return app.Setup(err)
				}
				v.Lease.tell(classes)
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), v)
			} else {
				err = v.print(cmd.OutOrStdout())
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// defaultLease is how long a link stays shaped where nobody says.
const defaultLease = 10 * time.Minute

func newShapeSet() *cobra.Command {
	var where app.Where
	var down, up string
	var profiles, to []string
	var span time.Duration
	var hold, keepGSO, cutOff, asJSON bool
	cmd := &cobra.Command{
		Use:   "set LINK [SPEC]",
		Short: "Shape a link for a time; what was there before comes back by itself",
		Long: "Puts conditions on a link: a profile's name such as lte, or delay=40ms,jitter=8ms,loss=0.5%,rate=12mbit.\n" +
			"SPEC holds in each direction. What was there before is restored when the time is over, by `shape clear`, and where\n" +
			"understudy is killed. It needs CAP_NET_ADMIN.",
		Example: "  understudy shape set eth0 lte --for 30m\n  understudy shape set eth0 --to db.internal:5432=delay=80ms --to 10.0.0.0/8=loss=2%\n  understudy shape set --container shop eth0 --down geo --up delay=300ms",
		Args:    usageArgs(cobra.RangeArgs(1, 2)),
	}
	addWhere(cmd, &where)
	cmd.Flags().StringVar(&down, "down", "", "conditions toward the link's user, `SPEC`")
	cmd.Flags().StringVar(&up, "up", "", "conditions from the link's user, `SPEC`")
	cmd.Flags().StringArrayVar(&to, "to", nil, "shape some destinations on their own: `DEST=SPEC`, such as 10.0.0.0/8:5432=delay=80ms (repeatable)")
	cmd.Flags().StringArrayVar(&profiles, "profiles", nil, "read profiles of your own from `FILE` (repeatable)")
	cmd.Flags().DurationVar(&span, "for", defaultLease, "restore after this `TIME`; 0 for never")
	cmd.Flags().BoolVar(&hold, "hold", false, "stay, and restore when this command ends")
	cmd.Flags().BoolVar(&keepGSO, "keep-gso", false, "leave segmentation to the link: faster, but packets are lost in super-packets")
	cmd.Flags().BoolVar(&cutOff, "cut-off-ssh", false, "do it, even if it cuts off the SSH session this command runs in")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		link, classes, err := app.LinkFor(profiles, first(args[1:]), down, up, to)
		if err != nil {
			return err
		}
		if span < 0 {
			return app.Usage(fmt.Errorf("--for: want 0 or more, got %v", span))
		}
		classes, notes, err := app.KernelClasses(cmd.Context(), classes)
		if err != nil {
			return err
		}
		namespace, name, err := openSwept(cmd, where)
		if err != nil {
			return err
		}
		target := shaping.Target{Namespace: namespace, Interface: args[0], KeepGSO: keepGSO}
		if !cutOff {
			if err := app.RefuseToSever(target, link, classes); err != nil {
				return app.Setup(err)
			}
		}
		exe, err := os.Executable()
		if err != nil {
			return app.Setup(err)
		}
		if ended, err := app.EndEarlier(cmd.Context(), target); err != nil {
			return app.Setup(err)
		} else if ended {
			_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "understudy: ended the lease that %s had\n", args[0])
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		held, err := shaping.Take(ctx, target, link,
			shaping.Hold{Dir: shaping.LeaseDir(), Namespace: name, Watcher: []string{exe, "shape", "watch"}, For: span}, classes...)
		if err != nil {
			return app.Setup(err)
		}
		if err := tellShaped(cmd, held, name, notes, asJSON); err != nil {
			return errors.Join(err, held.Release())
		}
		if !hold {
			return app.Setup(held.Detach())
		}
		var over <-chan time.Time
		if span > 0 {
			over = time.After(span)
		}
		select {
		case <-ctx.Done():
		case <-over:
		}
		return app.Setup(held.Release())
	}
	return cmd
}

// tellShaped says what is in force, and what there is to know about it.
func tellShaped(cmd *cobra.Command, h *shaping.Held, name string, notes []shaping.Finding, asJSON bool) error {
	findings := append(append([]shaping.Finding{}, notes...), h.Findings()...)
	if asJSON {
		return printJSON(cmd.OutOrStdout(), struct {
			Link     string            `json:"link"`
			Where    string            `json:"where"`
			Spec     string            `json:"spec"`
			EndsAt   time.Time         `json:"ends_at,omitzero"`
			Classes  []shaping.Leased  `json:"classes,omitempty"`
			Findings []shaping.Finding `json:"findings"`
		}{h.Lease.Found.Interface, name, h.Lease.Link, h.Lease.EndsAt, h.Lease.Classes, findings})
	}
	out := cmd.OutOrStdout()
	until := "until shape clear"
	if !h.Lease.EndsAt.IsZero() {
		until = "until " + h.Lease.EndsAt.Format(time.TimeOnly)
	}
	_, err := fmt.Fprintf(out, "shaped %s of %s %s: %s\n", h.Lease.Found.Interface, name, until, h.Lease.Link)
	for _, f := range findings {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", f.Level, f)
	}
	return err
}

func newShapeClear() *cobra.Command {
	var where app.Where
	cmd := &cobra.Command{
		Use:   "clear LINK",
		Short: "Take a link's conditions off and restore what was there before",
		Args:  usageArgs(cobra.ExactArgs(1)),
	}
	addWhere(cmd, &where)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		namespace, _, err := where.Open(cmd.Context())
		if err != nil {
			return err
		}
		did, err := app.ClearLink(cmd.Context(), shaping.Target{Namespace: namespace, Interface: args[0]})
		if err != nil {
			return app.Setup(err)
		}
		if did == "" {
			did = "there is nothing of understudy's on it"
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", args[0], did)
		return err
	}
	return cmd
}

// newShapeWatch is the watcher of a lease, a process of its own.
func newShapeWatch() *cobra.Command {
	return &cobra.Command{
		Use: "watch LEASE", Hidden: true, Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return app.Setup(shaping.WatchMain(args[0], cmd.InOrStdin(), cmd.OutOrStdout()))
		},
	}
}
