package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/internal/app"
)

func newCassetteRepair() *cobra.Command {
	return &cobra.Command{
		Use:   "repair DIR",
		Short: "Make a cassette whole that was cut short",
		Long:  "Lets an unfinished last exchange go, takes the counts anew, and notes in the manifest that it happened.",
		Args:  wantArgs("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			gone, cut, err := app.Repair(args[0])
			if err != nil {
				return err
			}
			if !cut {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is whole: nothing to do\n", args[0])
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is whole again: %d bytes of an unfinished exchange were let go\n", args[0], gone)
			return err
		},
	}
}
