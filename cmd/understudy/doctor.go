package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
	"github.com/understudy-proxy/understudy/shaping"
)

func newDoctor() *cobra.Command {
	var asJSON bool
	var require []string
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Tell what this machine can do, and what mends what it cannot",
		Long:    "Tries things out and changes nothing. Exits 0 whatever it finds, unless --require names what must be there: 125.",
		Example: "  understudy doctor --require ca,loopback",
		Args:    usageArgs(cobra.NoArgs),
	}
	cmd.Flags().StringSliceVar(&require, "require", nil, "exit 125 unless `NAME` is there (repeatable)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		exe, err := os.Executable()
		if err != nil {
			return app.Setup(err)
		}
		found := app.Doctor(cmd.Context(), exe, "doctor-probe")
		missing, err := required(found, require)
		if err != nil {
			return err
		}
		if err := printCapabilities(cmd, found, asJSON); err != nil {
			return err
		}
		if len(missing) > 0 {
			return app.Setup(errors.New("missing: " + strings.Join(missing, ", ")))
		}
		return nil
	}
	return cmd
}

// required returns those of the wanted that are not there.
func required(found []shaping.Capability, wanted []string) (missing []string, err error) {
	for _, name := range wanted {
		i := slices.IndexFunc(found, func(c shaping.Capability) bool { return c.Name == name })
		if i < 0 {
			var names []string
			for _, c := range found {
				names = append(names, c.Name)
			}
			return nil, app.Usage(fmt.Errorf("--require: want one of %s, got %q", strings.Join(names, ", "), name))
		}
		if !found[i].OK {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

func printCapabilities(cmd *cobra.Command, found []shaping.Capability, asJSON bool) error {
	w := columns(cmd.OutOrStdout())
	for _, c := range found {
		if asJSON {
			if err := printJSON(cmd.OutOrStdout(), c); err != nil {
				return err
			}
			continue
		}
		answer := "no"
		if c.OK {
			answer = "yes"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", c.Name, answer, c.Detail)
		if c.Remedy != "" {
			_, _ = fmt.Fprintf(w, "\t\t→ %s\n", c.Remedy)
		}
	}
	return w.Flush()
}

// newDoctorProbe is doctor's own process: it runs in namespaces that vanish with it.
func newDoctorProbe() *cobra.Command {
	return &cobra.Command{
		Use: "doctor-probe [redirect]", Hidden: true, Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if first(args) == "redirect" {
				return app.Setup(app.ProbeRedirect(cmd.OutOrStdout()))
			}
			return app.Setup(shaping.ProbeMain(cmd.OutOrStdout()))
		},
	}
}
