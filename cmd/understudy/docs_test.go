package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// sharedSection describes the flags that three commands have in common.
const sharedSection = "What record, replay and proxy share"

// TestCommandsAreDocumented holds docs/commands.md against the commands: each has
// its section, which names all of its flags and none that it has not.
func TestCommandsAreDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(data), "\n## ")[1:] {
		title, text, _ := strings.Cut(s, "\n")
		if _, twice := sections[title]; twice {
			t.Errorf("section %q stands twice", title)
		}
		sections[title] = text
	}
	shared := flagsIn(sections[sharedSection])
	used := map[string]bool{"Exit codes": true, sharedSection: true}
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" {
			return
		}
		name := cmd.CommandPath()
		used[name] = true
		text, ok := sections[name]
		if !ok {
			t.Errorf("%s has no section", name)
		}
		documented := flagsIn(text)
		if strings.Contains(text, "#what-record-replay-and-proxy-share") {
			documented = append(documented, shared...)
		}
		cmd.InitDefaultHelpFlag()
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !f.Hidden && !slices.Contains(documented, flagText(f)) {
				t.Errorf("%s: %s is not documented", name, flagText(f))
			}
		})
		for _, d := range flagsIn(beforeFirst(text, "And [what record")) {
			if !has(cmd, d) {
				t.Errorf("%s: documents %s, which it has not", name, d)
			}
		}
		for _, sub := range cmd.Commands() {
			look(sub)
		}
	}
	look(newRoot(""))
	for title := range sections {
		if !used[title] {
			t.Errorf("section %q is about no command", title)
		}
	}
}

var (
	flagRow  = regexp.MustCompile("(?m)^\\| (`-.*?) \\|(?: |$)")
	flagName = regexp.MustCompile("`(--?[a-z][a-z-]*)")
)

// flagsIn lists the flags in the first column of a section's tables.
func flagsIn(text string) []string {
	var names []string
	for _, row := range flagRow.FindAllStringSubmatch(strings.ReplaceAll(text, `\|`, "/"), -1) {
		for _, m := range flagName.FindAllStringSubmatch(row[1], -1) {
			names = append(names, m[1])
		}
	}
	return names
}

func flagText(f *pflag.Flag) string {
	if len(f.Name) == 1 {
		return "-" + f.Name
	}
	return "--" + f.Name
}

func has(cmd *cobra.Command, flag string) bool {
	name := strings.TrimLeft(flag, "-")
	if cmd.Flags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil {
		return true
	}
	return len(name) == 1 && cmd.Flags().ShorthandLookup(name) != nil
}

func beforeFirst(s, sep string) string {
	before, _, _ := strings.Cut(s, sep)
	return before
}
