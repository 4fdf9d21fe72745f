package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
	"github.com/understudy-proxy/understudy/internal/demo"
)

func newDemo() *cobra.Command {
	var o demo.Options
	var asJSON bool
	var visit string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "The tour: record, replay, break and measure a sample shop's payments",
		Long: "Starts a sample shop and the payment service that it depends on, records a session, shuts payments down,\n" +
			"replays it, bends it with rules, puts a slow link before it where the machine can make one, and measures\n" +
			"understudy's own overhead, in about half a minute. It needs no network and no root, and leaves nothing\n" +
			"behind. Exits 0 when all that it shows holds, 99 else.",
		Example: "  understudy demo\n  understudy demo --keep tour",
		Args:    usageArgs(cobra.NoArgs),
	}
	f := cmd.Flags()
	f.StringVar(&o.Keep, "keep", "", "leave the cassette and the rules in `DIR`, which must be empty or missing")
	f.Uint64Var(&o.Seed, "seed", 42, "seed `N` of the customers, the payments' times and the rules")
	f.BoolVar(&o.Short, "short", false, "as brief as it can be: fewer customers, rougher figures")
	f.BoolVar(&asJSON, "json", false, "print the figures as one JSON document, without the story")
	f.StringVar(&visit, "visit", "", "be the tour's client at `URL`")
	_ = f.MarkHidden("visit") // there is such a flag
	f.SortFlags = false
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if visit != "" {
			return demo.Visit(cmd.Context(), visit, cmd.OutOrStdout())
		}
		exe, err := os.Executable()
		if err != nil {
			return app.Setup(err)
		}
		ownSurroundings()
		o.Executable = exe
		o.Start = func(ctx context.Context, args ...string) (demo.Process, error) { return app.StartSelf(ctx, args...) }
		if !asJSON {
			o.Out = cmd.OutOrStdout()
		}
		ctx, signalled, stop := untilSignal(cmd.Context())
		defer stop()
		r, err := demo.Run(ctx, o)
		if s := signalled(); s != 0 {
			return &app.ExitError{Code: 128 + int(s)}
		}
		if err != nil {
			return app.Setup(fmt.Errorf("demo: %w", err))
		}
		if asJSON {
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			if err := e.Encode(r); err != nil {
				return app.Setup(err)
			}
		}
		if code := r.ExitCode(); code != app.ExitOK {
			return &app.ExitError{Code: code}
		}
		return nil
	}
	return cmd
}

// ownSurroundings keeps the user's settings out of the tour's processes.
func ownSurroundings() {
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "UNDERSTUDY_") {
			_ = os.Unsetenv(name) // fails for names that cannot be set either
		}
	}
}
