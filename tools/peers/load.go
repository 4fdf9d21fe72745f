package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// load is what one run of wrk saw. Latencies are µs.
type load struct {
	requests int
	took     time.Duration
	p50, p99 float64
	errors   int
}

// The script's last line is for us; the latencies are wrk's own, in µs.
const doneLua = `
done = function(s, l, r)
  local e = s.errors
  io.write(string.format("RESULT %d %d %d %d %d\n", s.requests, s.duration,
    l:percentile(50), l:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
`

// script writes a Lua script of wrk that says first and ends with the result.
func (b *bench) script(name, first string) (string, error) {
	path := filepath.Join(b.dir, name+".lua")
	return path, os.WriteFile(path, []byte(first+doneLua), 0o644)
}

// absoluteScript asks a forward proxy for url, in absolute form.
func (b *bench) absoluteScript(name, url string) (string, error) {
	return b.script(name, fmt.Sprintf("wrk.path = %q\n", url))
}

// thinkScript pauses before each request: for least, and evenly up to more than that.
func (b *bench) thinkScript(least, more time.Duration) (string, error) {
	return b.script(fmt.Sprintf("think-%d-%d", least.Milliseconds(), more.Milliseconds()), fmt.Sprintf(
		"delay = function() return %d + math.random(0, %d) end\n", least.Milliseconds(), more.Milliseconds()))
}

// manyScript walks over a thousand paths spread over n stubs.
func (b *bench) manyScript(n int) (string, error) {
	step := max(1, n/1000)
	return b.script("many", fmt.Sprintf(`
local requests, at = {}, 0
init = function(args)
  for i = 0, %d do
    requests[i] = wrk.format("GET", "/stub/" .. (i * %d))
  end
end
request = function()
  at = (at + 389) %% %d
  return requests[at]
end
`, min(n, 1000)-1, step, min(n, 1000)))
}

// drive loads url in a closed loop over conns kept connections.
func (b *bench) drive(ctx context.Context, url, script string, conns, seconds int) (load, error) {
	cmd := exec.CommandContext(ctx, "wrk", "-t", strconv.Itoa(min(b.threads, conns)), "-c", strconv.Itoa(conns),
		"-d", strconv.Itoa(seconds)+"s", "--timeout", "10s", "-s", script, url)
	cmd.Env = b.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return load{}, context.Cause(ctx)
		}
		return load{}, fmt.Errorf("wrk %s: %w: %s", url, err, out.String())
	}
	return parseLoad(out.String())
}

func parseLoad(out string) (load, error) {
	_, line, ok := strings.Cut(out, "RESULT ")
	var l load
	var us int64
	if ok {
		_, err := fmt.Sscanf(line, "%d %d %f %f %d", &l.requests, &us, &l.p50, &l.p99, &l.errors)
		ok = err == nil
	}
	if !ok {
		return load{}, fmt.Errorf("read wrk's result: want RESULT and five numbers, got %q", out)
	}
	l.took = time.Duration(us) * time.Microsecond
	return l, nil
}
