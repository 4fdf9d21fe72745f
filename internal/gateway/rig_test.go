//go:build linux

package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/understudy-proxy/understudy/internal/gateway"
)

// rig is a captured command whose traffic a small HTTP server answers, telling
// what was asked for.
type rig struct {
	*gateway.Gateway
	t      *testing.T
	out    *os.File // the command's standard output, to be read here
	server http.Server
	mu     sync.Mutex
	seen   []string // "host address path" of each request
}

type connKey struct{}

// capture starts a command captured. Where this machine cannot, the test is
// skipped and says why.
func capture(t *testing.T, o gateway.Options) *rig {
	t.Helper()
	r := &rig{t: t}
	if o.Stdout == nil {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.out, o.Stdout = read, write
		defer write.Close()
		t.Cleanup(func() { read.Close() })
	}
	if o.Stdin == nil {
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		o.Stdin = null
	}
	g, err := gateway.Start(t.Context(), o)
	if err != nil {
		if _, ok := errors.AsType[*gateway.StepError](err); ok {
			t.Skip("cannot capture here: ", err)
		}
		t.Fatal(err)
	}
	r.Gateway = g
	r.server = http.Server{Handler: http.HandlerFunc(r.answer), ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}}
	var serving sync.WaitGroup
	for _, l := range g.Listeners() {
		serving.Go(func() { _ = r.server.Serve(l) })
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		_ = r.server.Close()
		serving.Wait()
	})
	return r
}

func (r *rig) answer(w http.ResponseWriter, req *http.Request) {
	at := req.Context().Value(connKey{}).(net.Conn).LocalAddr().(*net.TCPAddr).AddrPort()
	host, _ := r.Name(at.Addr())
	line := fmt.Sprintf("%s:%d%s", host, at.Port(), req.URL.Path)
	if host == "" {
		line = at.String() + req.URL.Path
	}
	r.mu.Lock()
	r.seen = append(r.seen, line)
	r.mu.Unlock()
	_, _ = io.WriteString(w, line+"\n")
}

// output reads what the command writes, to its end, and checks its exit code.
func (r *rig) output(code int) string {
	r.t.Helper()
	text, err := io.ReadAll(r.out)
	if err != nil {
		r.t.Fatal(err)
	}
	got, err := r.Wait()
	if err != nil || got != code {
		r.t.Errorf("exit code %d (%v), want %d; it wrote:\n%s", got, err, code, text)
	}
	return string(text)
}

// run captures this binary in a role and returns what it writes.
func run(t *testing.T, o gateway.Options, name string, args ...string) (*rig, string) {
	t.Helper()
	o.Argv, o.Env = as(name, args...)
	r := capture(t, o)
	return r, r.output(0)
}

// sh captures a line of shell.
func sh(t *testing.T, o gateway.Options, line string) *rig {
	t.Helper()
	o.Argv = []string{"sh", "-c", line}
	return capture(t, o)
}

// need skips a test without a program.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(program + " is not installed")
	}
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}
