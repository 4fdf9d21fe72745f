// Command links shows that TCP feels a captured command's link: for each profile, and for
// plain conditions, it runs iperf3 both ways and fetches a page of many objects, captured
// by understudy with --link, and prints what came out beside what theory says.
//
// Understudy ends TCP at its own end of the link, so what is measured is the link, and not
// the way to the server, which is on this host's loopback.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// role makes this program the one that is captured.
const role = "LINKS_ROLE"

// specs are what is measured: no link, plain conditions, understudy's profiles.
var specs = []string{
	"", "rate=10mbit", "rate=100mbit", "delay=25ms", "delay=25ms,rate=20mbit", "delay=10ms,loss=0.1%", "delay=10ms,loss=1%", "delay=25ms,loss=1%",
	"2g", "3g-slow", "3g", "4g", "lte", "5g", "dsl", "cable", "fibre", "leo", "geo", "transatlantic", "wifi", "lossy-office",
}

func main() {
	if os.Getenv(role) != "" {
		if err := client(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "links: captured:", err)
			os.Exit(1)
		}
		return
	}
	binary := flag.String("understudy", "bin/understudy", "the binary to measure")
	engine := flag.String("engine", "auto", "what shapes: netem, tun or auto")
	only := flag.String("only", "", "a regular expression that specs must match")
	seconds := flag.Int("seconds", 3, "how long iperf3 measures, each way, after a second to warm up")
	seed := flag.String("seed", "1", "the runs' seed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, run{binary: *binary, engine: *engine, seconds: *seconds, seed: *seed}, *only); err != nil {
		fmt.Fprintln(os.Stderr, "links:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, r run, only string) error {
	matching, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if _, err := exec.LookPath("iperf3"); err != nil {
		return fmt.Errorf("%w: install iperf3", err)
	}
	end, err := r.serve(ctx)
	if err != nil {
		return err
	}
	defer end()
	control := congestion()
	fmt.Printf("| Link | Connect | RTT asked | Down by %s, Mbit/s | expected | Up by reno, Mbit/s | expected | Page | at least |\n", control)
	fmt.Println("|-|-|-|-|-|-|-|-|-|")
	for _, spec := range specs {
		if !matching.MatchString(spec) {
			continue
		}
		found, err := r.one(ctx, spec)
		if err != nil {
			return fmt.Errorf("%s: %w", cmp.Or(spec, "no link"), err)
		}
		fmt.Println(found.row(spec, control))
	}
	return nil
}

// congestion is this kernel's congestion control, which understudy's end sends by.
func congestion() string {
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	if err != nil {
		return "an unknown control"
	}
	return strings.TrimSpace(string(b))
}

// row is a link's line of the table.
func (f *found) row(spec, control string) string {
	rtt := f.down.delay + f.up.delay
	cells := []string{
		cmp.Or(spec, "none"), short(f.Connect), short(rtt),
		figure(f.Down), expectation(f.down.goodput(rtt, control)),
		figure(f.Up), expectation(f.up.goodput(rtt, "reno")),
		fmt.Sprintf("%s of %d objects, %d KB", short(f.Page), f.Objects, f.Bytes/1000), short(bound(f, rtt)),
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// figure has three digits.
func figure(bitsPerSecond float64) string {
	switch m := bitsPerSecond / 1e6; {
	case m >= 100:
		return fmt.Sprintf("%.0f", m)
	case m >= 10:
		return fmt.Sprintf("%.1f", m)
	default:
		return fmt.Sprintf("%.2f", m)
	}
}

func expectation(bitsPerSecond float64, by string) string {
	if by == "" {
		return "–"
	}
	return figure(bitsPerSecond) + " (" + by + ")"
}
