package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
	"github.com/understudy-proxy/understudy/shaping"
)

func newShape() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shape",
		Short: "The conditions of this host's links",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newShapeShow(), newShapeSet(), newShapeClear())
	return cmd
}

func newShapeShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [LINK]",
		Short: "Show what the links have: netem, htb, tbf and others",
		Args:  usageArgs(cobra.MaximumNArgs(1)),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a link")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		names := args
		if len(args) == 0 {
			links, err := shaping.Interfaces(nil)
			if err != nil {
				return app.Setup(err)
			}
			for _, l := range links {
				names = append(names, l.Name)
			}
		}
		for _, name := range names {
			s, err := shaping.Show(shaping.Target{Interface: name})
			if err != nil {
				return app.Setup(err)
			}
			v := viewOf(s)
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

func newShapeSet() *cobra.Command {
	return &cobra.Command{
		Use:   "set LINK SPEC",
		Short: "Set a link's conditions (not in this version)",
		Args:  usageArgs(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := shaping.ParseSpec(args[1]); err != nil {
				return app.Usage(fmt.Errorf("SPEC: %w", err))
			}
			return notShaped("set " + args[0])
		},
	}
}

func newShapeClear() *cobra.Command {
	return &cobra.Command{
		Use:   "clear LINK",
		Short: "Take a link's conditions off (not in this version)",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE:  func(_ *cobra.Command, args []string) error { return notShaped("clear " + args[0]) },
	}
}

func notShaped(what string) error {
	return app.Setup(errors.New(what + ": setting links is not in this version; nothing was changed\n" +
		"hint: rules bend requests without root, delay and throttle among them: docs/rules.md"))
}

// linkView is what is shown of a link.
type linkView struct {
	Link    string      `json:"link"`
	Kind    string      `json:"kind"`
	MTU     int         `json:"mtu"`
	Up      bool        `json:"up"`
	Qdiscs  []qdiscView `json:"qdiscs"`
	Classes []classView `json:"classes"`
}

type qdiscView struct {
	Kind   string `json:"kind"`
	Handle string `json:"handle"`
	Parent string `json:"parent"`
	// Spec is netem's conditions as shape takes them.
	Spec string `json:"spec,omitempty"`
	// BitsPerSecond is tbf's rate.
	BitsPerSecond uint64 `json:"bits_per_second,omitempty"`
}

type classView struct {
	Handle            string `json:"handle"`
	Parent            string `json:"parent"`
	BitsPerSecond     uint64 `json:"bits_per_second"`
	CeilBitsPerSecond uint64 `json:"ceil_bits_per_second"`
}

func viewOf(s shaping.State) linkView {
	v := linkView{Link: s.Interface.Name, Kind: s.Interface.Kind, MTU: s.Interface.MTU, Up: s.Interface.Up, Qdiscs: []qdiscView{}, Classes: []classView{}}
	for _, q := range s.Qdiscs {
		one := qdiscView{Kind: q.Kind, Handle: q.Handle, Parent: q.Parent}
		if q.Netem != nil {
			one.Spec = q.Netem.String()
		}
		if q.TBF != nil {
			one.BitsPerSecond = q.TBF.Rate
		}
		v.Qdiscs = append(v.Qdiscs, one)
	}
	for _, c := range s.Classes {
		v.Classes = append(v.Classes, classView{c.Handle, c.Parent, c.Rate, c.Ceil})
	}
	return v
}

func (v linkView) print(out io.Writer) error {
	state := "down"
	if v.Up {
		state = "up"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s, %s, mtu %d\n", v.Link, v.Kind, state, v.MTU)
	for _, q := range v.Qdiscs {
		fmt.Fprintf(&b, "  qdisc %s %s at %s", q.Kind, q.Handle, q.Parent)
		if q.Spec != "" {
			fmt.Fprintf(&b, "  %s", q.Spec)
		}
		if q.BitsPerSecond > 0 {
			fmt.Fprintf(&b, "  rate %dbit", q.BitsPerSecond)
		}
		b.WriteByte('\n')
	}
	for _, c := range v.Classes {
		fmt.Fprintf(&b, "  class htb %s in %s  rate %dbit, ceil %dbit\n", c.Handle, c.Parent, c.BitsPerSecond, c.CeilBitsPerSecond)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
