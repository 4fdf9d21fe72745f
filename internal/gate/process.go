package gate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"time"
)

// LoadMain is the body of a hidden subcommand: it reads LoadOptions as JSON from
// stdin, runs the load and writes the LoadResult as JSON to stdout.
func LoadMain(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	var o LoadOptions
	if err := json.NewDecoder(stdin).Decode(&o); err != nil {
		return fmt.Errorf("read load options: %w", err)
	}
	r, err := RunLoad(ctx, o)
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(r)
}

// CommandLoader runs each load in a process of its own: argv is a command whose
// body is LoadMain, such as this binary with its hidden subcommand.
func CommandLoader(argv ...string) Loader {
	return func(ctx context.Context, o LoadOptions) (r LoadResult, err error) {
		in, err := json.Marshal(o)
		if err != nil {
			return r, err
		}
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdin = bytes.NewReader(in)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return r, fmt.Errorf("run %s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
		}
		if err := json.Unmarshal(out, &r); err != nil {
			return r, fmt.Errorf("read the result of %s: %w", strings.Join(argv, " "), err)
		}
		return r, nil
	}
}

// started is what UpstreamMain says once it listens.
type started struct {
	Addr string `json:"addr"`
}

// UpstreamMain is the body of a hidden subcommand: it serves on a free loopback
// port, says which on stdout, and ends when stdin does. So it never outlives
// the process that started it, however that one ends.
func UpstreamMain(ctx context.Context, stdin io.Reader, stdout io.Writer, o UpstreamOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with stdin, thus at the latest with the process
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	o.Ready = func(addr net.Addr) { _ = json.NewEncoder(stdout).Encode(started{addr.String()}) }
	return ServeUpstream(ctx, "127.0.0.1:0", o)
}

// CommandUpstream starts the upstream in a process of its own: argv is a command
// whose body is UpstreamMain.
func CommandUpstream(argv ...string) func(ctx context.Context) (*Upstream, error) {
	return func(ctx context.Context) (*Upstream, error) {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.WaitDelay = 5 * time.Second
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		stop := func() error {
			stdin.Close()
			return cmd.Wait()
		}
		line, err := bufio.NewReader(stdout).ReadBytes('\n')
		var s started
		if err == nil {
			err = json.Unmarshal(line, &s)
		}
		if err != nil {
			err = errors.Join(err, stop())
			return nil, fmt.Errorf("run %s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
		}
		return &Upstream{URL: "http://" + s.Addr, Stop: stop}, nil
	}
}
