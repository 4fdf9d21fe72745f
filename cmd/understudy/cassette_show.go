package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/internal/app"
)

func newCassetteShow() *cobra.Command {
	var asJSON, raw bool
	cmd := &cobra.Command{
		Use:   "show CASSETTE [ID]",
		Short: "Show what a cassette holds, or one exchange of it",
		Args:  wantSome(2, "CASSETTE"),
	}
	f := cmd.Flags()
	f.BoolVar(&raw, "raw", false, "bodies as they came, content coding and all")
	f.BoolVar(&asJSON, "json", false, "one JSON object; an exchange as it stands in exchanges.ndjson")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var id uint64
		if len(args) == 2 {
			var err error
			if id, err = strconv.ParseUint(args[1], 10, 64); err != nil {
				return app.Usage(fmt.Errorf("exchange: want a number, got %q\nhint: understudy cassette ls %s", args[1], args[0]))
			}
		}
		c, err := app.OpenCassette(args[0])
		if err != nil {
			return err
		}
		if len(args) == 1 {
			s, err := app.Summarize(c)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			warn(cmd, c.Warnings)
			return printSummary(cmd.OutOrStdout(), s)
		}
		x, err := app.FindExchange(c, id)
		if err != nil {
			return err
		}
		if !asJSON {
			return app.ShowExchange(cmd.OutOrStdout(), c, x, raw)
		}
		line, err := cassette.EncodeExchange(nil, x)
		if err != nil {
			return app.BadInput(err)
		}
		_, err = cmd.OutOrStdout().Write(line)
		return err
	}
	return cmd
}

func printSummary(out io.Writer, s *app.Summary) error {
	w := columns(out)
	say := func(name, format string, args ...any) { _, _ = fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	say("cassette", "%s, format %d", s.Path, s.Version)
	if s.Tool != "" {
		say("written by", "%s", app.Printable(s.Tool))
	}
	say("state", "%s", s.State)
	if !s.CreatedAt.IsZero() {
		when := s.CreatedAt.Format(time.RFC3339)
		if s.EndedAt.After(s.CreatedAt) {
			when += fmt.Sprintf(", %s long", s.EndedAt.Sub(s.CreatedAt).Round(time.Millisecond))
		}
		say("recorded", "%s", when)
	}
	say("exchanges", "%d, %d dropped", s.Exchanges, s.Dropped)
	if len(s.Stubs) > 0 {
		say("stubs", "%d: %s", len(s.Stubs), app.Printable(strings.Join(s.Stubs, ", ")))
	}
	if len(s.Connections) > 0 {
		say("connections", "%s", counts(s.Connections))
	}
	for _, t := range s.Captured {
		say("captured", "%s %s, %d", app.Printable(t.Host), app.Printable(t.Protocol), t.Count)
	}
	for _, t := range s.NotCaptured {
		say("not captured", "%s %s, %d: %s", app.Printable(t.Host), app.Printable(t.Protocol), t.Count, app.Printable(t.Reason))
	}
	if len(s.Redacted) > 0 {
		say("redacted", "%s", app.Printable(counts(s.Redacted)))
	}
	if len(s.Headers) > 0 {
		say("match headers", "%s", strings.Join(s.Headers, ", "))
	}
	for _, i := range s.Ignored {
		say("ignored", "%s", app.Printable(i))
	}
	for _, m := range s.Models {
		text := app.Printable(strings.Join(m.Operations, ", ")) + ": " + m.Served
		if m.Capacity > 0 {
			text += fmt.Sprintf(", %.4g a second", m.Capacity)
		}
		say("timing model", "%s", text)
	}
	for _, l := range s.Limits {
		say("rate limit", "%s: %s", app.Printable(strings.Join(l.Operations, ", ")), l.Limit)
	}
	if err := w.Flush(); err != nil || len(s.Operations) == 0 {
		return err
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	return printOperations(out, s.Operations)
}

func printOperations(out io.Writer, ops []app.Operation) error {
	w := columns(out)
	_, _ = fmt.Fprintln(w, "OPERATION\tN\tSTATUS\tTTFB p50\tp95\tp99\tTOTAL p50\tp95\tp99")
	for _, o := range ops {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", app.Printable(o.Name), o.N, statuses(o.Statuses),
			o.TTFB.P50, o.TTFB.P95, o.TTFB.P99, o.Total.P50, o.Total.P95, o.Total.P99)
	}
	return w.Flush()
}

// statuses is "200" where there is one, "200×7 503" where there are several.
func statuses(m map[int]int) string {
	var parts []string
	for _, s := range slices.Sorted(maps.Keys(m)) {
		text := strconv.Itoa(s)
		if n := m[s]; len(m) > 1 && n > 1 {
			text += "×" + strconv.Itoa(n)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

// counts is "captured 12, passed 3", in order of the names.
func counts[K cmp.Ordered, V int | uint64](m map[K]V) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%v %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}
