package gate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// loadReply is a line of LoadMain's.
type loadReply struct {
	Result LoadResult `json:"result"`
	Error  string     `json:"error,omitempty"`
}

// LoadMain is the body of a hidden subcommand: for each LoadOptions that it reads
// as JSON from stdin it runs the load and writes a reply to stdout. It ends with stdin.
func LoadMain(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	in, out := json.NewDecoder(stdin), json.NewEncoder(stdout)
	for {
		var o LoadOptions
		if err := in.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read load options: %w", err)
		}
		var reply loadReply
		var err error
		if reply.Result, err = RunLoad(ctx, o); err != nil {
			reply.Error = err.Error()
		}
		if err := out.Encode(reply); err != nil {
			return err
		}
	}
}

// child is a process that is talked to over its standard streams.
type child struct {
	argv   []string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

// startChild starts it. When ctx ends it is told to end, as what captures a load has to
// end that first, and killed where it does not.
func startChild(ctx context.Context, argv, env []string) (*child, error) {
	c := &child{argv: argv, cmd: exec.CommandContext(ctx, argv[0], argv[1:]...)}
	c.cmd.Env = env
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	c.cmd.WaitDelay = 5 * time.Second
	c.cmd.Stderr = &c.stderr
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	return c, c.cmd.Start()
}

// stop closes its input, which ends it, and waits.
func (c *child) stop() error {
	c.in.Close()
	return c.cmd.Wait()
}

// read decodes the next line of its output. When there is none it ends the
// process and says what that had to say.
func (c *child) read(v any) error {
	line, err := c.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, v)
	}
	if err == nil {
		return nil
	}
	err = errors.Join(err, c.stop())
	return fmt.Errorf("run %s: %w: %s", strings.Join(c.argv, " "), err, strings.TrimSpace(c.stderr.String()))
}

// load runs one load in it; gone says that it has ended.
func (c *child) load(o LoadOptions) (r LoadResult, gone bool, err error) {
	// Where it has gone, the read below says why.
	_ = json.NewEncoder(c.in).Encode(o)
	var reply loadReply
	if err := c.read(&reply); err != nil {
		return LoadResult{}, true, err
	}
	if reply.Error != "" {
		return LoadResult{}, false, errors.New(reply.Error)
	}
	return reply.Result, false, nil
}

// StartLoader is CommandLoader with a process that starts at once, in the environment
// env: argv ends with a command whose body is LoadMain, and what comes before is the way
// that its loads go. pid is the process of argv itself.
func StartLoader(ctx context.Context, env []string, argv ...string) (load Loader, pid int, stop func() error, err error) {
	c, err := startChild(ctx, argv, env)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("run %s: %w", strings.Join(argv, " "), err)
	}
	ended := false
	load = func(_ context.Context, o LoadOptions) (r LoadResult, err error) {
		if ended {
			return r, fmt.Errorf("run %s: it has ended", strings.Join(argv, " "))
		}
		r, ended, err = c.load(o)
		return r, err
	}
	return load, c.cmd.Process.Pid, func() error {
		if ended {
			return nil // what it had to say was said
		}
		return c.stop()
	}, nil
}

// CommandLoader runs the loads in a process of its own, which the first load
// starts: argv is a command whose body is LoadMain, such as this binary with its
// hidden subcommand. One load runs at a time. stop ends the process.
func CommandLoader(argv ...string) (load Loader, stop func() error) {
	var c *child
	load = func(ctx context.Context, o LoadOptions) (LoadResult, error) {
		if c == nil {
			started, err := startChild(ctx, argv, nil)
			if err != nil {
				return LoadResult{}, fmt.Errorf("run %s: %w", strings.Join(argv, " "), err)
			}
			c = started
		}
		r, gone, err := c.load(o)
		if gone {
			c = nil
		}
		return r, err
	}
	return load, func() error {
		if c == nil {
			return nil
		}
		defer func() { c = nil }()
		return c.stop()
	}
}

// UpstreamMain is the body of a hidden subcommand: it serves on free loopback
// ports, says which on stdout, and ends when stdin does. So it never outlives
// the process that started it, however that one ends.
func UpstreamMain(ctx context.Context, stdin io.Reader, stdout io.Writer, o UpstreamOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with stdin, thus at the latest with the process
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	o.Ready = func(at UpstreamAddresses) { _ = json.NewEncoder(stdout).Encode(at) }
	return ServeUpstream(ctx, "127.0.0.1", o)
}

// CommandUpstream starts the upstream in a process of its own: argv is a command
// whose body is UpstreamMain.
func CommandUpstream(argv ...string) func(ctx context.Context) (*Upstream, error) {
	return func(ctx context.Context) (*Upstream, error) {
		c, err := startChild(ctx, argv, nil)
		if err != nil {
			return nil, err
		}
		var at UpstreamAddresses
		if err := c.read(&at); err != nil {
			return nil, err
		}
		return upstreamAt(at, c.stop), nil
	}
}
