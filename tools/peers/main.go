package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options are the flags of a run.
type options struct {
	understudy string
	cache      string
	doc        string
	quick      bool
	rounds     int
	seconds    int
	threads    int
	stubs      int
	only       *regexp.Regexp
	subjects   *regexp.Regexp
	bound      time.Duration
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "client" {
		if err := runClient(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Children get a signal when the thread that started them ends; that
	// must be the process's end and nothing earlier.
	runtime.LockOSThread()
	if len(os.Args) == 4 && os.Args[1] == "serve" {
		fmt.Fprintln(os.Stderr, serve(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, o.bound, fmt.Errorf("the run outlived -bound %v", o.bound))
	defer cancel()
	if err := measure(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	o := options{}
	cache, _ := os.UserCacheDir()
	fs := flag.NewFlagSet("peers", flag.ContinueOnError)
	fs.StringVar(&o.understudy, "understudy", "bin/understudy", "the program to measure beside the peers")
	fs.StringVar(&o.cache, "cache", filepath.Join(cache, "understudy-peers"), "directory of peers that come from no Debian package")
	fs.StringVar(&o.doc, "doc", "", "file whose marked part is replaced by the tables")
	fs.BoolVar(&o.quick, "quick", false, "2 rounds of 2 s and fewer cells: about 9 minutes")
	fs.IntVar(&o.rounds, "rounds", 0, "rounds; 5, or 2 with -quick")
	fs.IntVar(&o.seconds, "seconds", 0, "seconds a cell and round; 4, or 2 with -quick")
	fs.IntVar(&o.threads, "threads", 1, "wrk's threads")
	fs.IntVar(&o.stubs, "stubs", 100_000, "how many stubs many are")
	only := fs.String("only", "", "measure only the groups whose name matches this expression")
	subjects := fs.String("subjects", "", "measure only the subjects whose name matches this expression, and direct")
	fs.DurationVar(&o.bound, "bound", 3*time.Hour, "end the run after so long, whatever happens")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	if o.subjects, err = regexp.Compile(*subjects); err != nil {
		return o, fmt.Errorf("-subjects: %w", err)
	}
	rounds, seconds := 5, 4
	if o.quick {
		rounds, seconds = 2, 2
	}
	if o.rounds <= 0 {
		o.rounds = rounds
	}
	if o.seconds <= 0 {
		o.seconds = seconds
	}
	if o.understudy, err = filepath.Abs(o.understudy); err != nil {
		return o, err
	}
	return o, nil
}

// measure checks what is there, runs all groups and writes the report.
func measure(ctx context.Context, o options, out, talk io.Writer) (err error) {
	b, err := newBench(o, talk)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	absent, err := b.precheck()
	if err != nil {
		return err
	}
	for _, a := range absent {
		fmt.Fprintln(talk, "SKIPPED", a)
	}
	if err := b.startUpstream(ctx); err != nil {
		return fmt.Errorf("start the upstream: %w", err)
	}
	r := report{Absent: absent, Machine: machine(), Versions: b.versions(), Options: o, At: time.Now()}
	for _, g := range groups(o) {
		if !o.only.MatchString(g.name) {
			continue
		}
		t, err := b.runGroup(ctx, g)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		r.Tables = append(r.Tables, t)
	}
	text := r.markdown()
	if _, err := io.WriteString(out, text); err != nil {
		return err
	}
	if o.doc == "" {
		return nil
	}
	return replaceMarked(o.doc, text)
}

const (
	beginMark = "<!-- peers: begin -->"
	endMark   = "<!-- peers: end -->"
)

// replaceMarked puts text between the marks in the file at path.
func replaceMarked(path, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(old), beginMark)
	_, tail, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("replace the tables in %s: want the marks %s and %s", path, beginMark, endMark)
	}
	return os.WriteFile(path, []byte(head+beginMark+"\n"+text+endMark+tail), 0o644)
}
