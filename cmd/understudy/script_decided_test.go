package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// asks is a program that asks for URL1, URL2 and so on to N, one after the other and each
// on a connection of its own, and prints what it was answered, "-" for nothing:
// asks [-at 5s] URL N. With -at it begins so long after its start.
func asks() {
	at := flag.Duration("at", 0, "")
	flag.Parse()
	begin := time.After(*at)
	base, err := url.Parse(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	<-begin
	// The name is looked up once: a question that a link loses takes seconds.
	to, err := net.ResolveTCPAddr("tcp4", base.Host+":80")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp4", to.String())
		}}}
	n := 0
	_, _ = fmt.Sscan(flag.Arg(1), &n)
	for i := range n {
		resp, err := c.Get(fmt.Sprintf("%s%d", base, i+1))
		if err != nil {
			fmt.Println("-")
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Printf("%d %q %v\n", resp.StatusCode, body, err == nil)
	}
}

// said is a line of the log, or an event, of a run with --json.
type said struct {
	Msg, Event string
	ID         int
	Method     string
	Path       string
	Status     int
	Outcome    string
	Source     string
	Rules      json.RawMessage // names, or what fired how often

	Name, Phase, Down, Up json.RawMessage
	Steps                 []string
	Ledger                struct {
		Connections struct{ Opened, Captured, Refused, Dropped int }
		Exchanges   struct {
			Count             int
			Outcomes, Sources map[string]int
		}
		Rules []struct {
			Name  string
			Fired int
		}
	}
	Link struct {
		Steps []struct {
			Name  string
			Times int
		}
	}
}

// scriptDecided writes to a file what the run that ended last decided, as it told with
// --json and log.access, without what only the machine's time makes: decided FILE. That is
// each exchange in order, each change of the link with the conditions, and the ledger's
// sums.
func scriptDecided(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: decided FILE")
	}
	var exchanges []said
	var link, ledger []string
	for line := range strings.Lines(ts.ReadFile("stdout") + ts.ReadFile("stderr")) {
		var s said
		if json.Unmarshal([]byte(line), &s) != nil {
			continue
		}
		switch {
		case s.Msg == "exchange":
			exchanges = append(exchanges, s)
		case s.Event == "link_changed":
			link = append(link, fmt.Sprintf("link %s %s %v down %s up %s\n", s.Name, s.Phase, s.Steps, s.Down, s.Up))
		case s.Event == "report":
			ledger = append(ledger, fmt.Sprintf("ledger %+v\nsteps %+v\n", s.Ledger, s.Link.Steps))
		}
	}
	slices.SortFunc(exchanges, func(a, b said) int { return a.ID - b.ID })
	var out strings.Builder
	for _, s := range exchanges {
		fmt.Fprintf(&out, "exchange %s %s %d %s %s %s\n", s.Method, s.Path, s.Status, s.Outcome, s.Source, s.Rules)
	}
	if len(exchanges) == 0 || len(ledger) != 1 {
		ts.Fatalf("the run told of %d exchanges and %d ledgers", len(exchanges), len(ledger))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(out.String()+strings.Join(append(link, ledger...), "")), 0o600))
}
