package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
)

func newCassetteFit() *cobra.Command {
	return &cobra.Command{
		Use:   "fit CASSETTE",
		Short: "Fit timing models (not in this version)",
		Args:  wantArgs("CASSETTE"),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := app.OpenCassette(args[0]); err != nil {
				return err
			}
			return app.Setup(errors.New("fit: fitted timing models are not in this version; nothing was changed\n" +
				"hint: replay --timing recorded keeps each answer's own times; a rule with delay: empirical(\"CASSETTE\", \"METHOD path\") draws from them"))
		},
	}
}
