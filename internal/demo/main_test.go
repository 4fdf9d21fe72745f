package demo

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/understudy-proxy/understudy/internal/app"
)

var update = flag.Bool("update", false, "record fixtures/samples/shop anew")

// programVariable makes this test's binary become understudy: app.StartSelf
// starts the program that it is part of.
const programVariable = "DEMO_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if program := os.Getenv(programVariable); program != "" {
		err := syscall.Exec(program, append([]string{program}, os.Args[1:]...), os.Environ())
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	buildDir, err := os.MkdirTemp("", "demo-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	built.path = filepath.Join(buildDir, "understudy")
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(buildDir)
		os.Exit(code)
	}))
}

var built struct {
	path string
	once sync.Once
	err  error
}

// program builds understudy, once for all tests.
func program(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs understudy as a program of its own; not under -short")
	}
	built.once.Do(func() {
		out, err := exec.Command("go", "build", "-o", built.path, "../../cmd/understudy").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("build understudy: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// newTour is a tour whose steps a test takes by itself.
func newTour(t *testing.T, seed uint64, p pace) *tour {
	t.Helper()
	o := Options{Executable: program(t), Seed: seed, Out: t.Output()}
	t.Setenv(programVariable, o.Executable)
	o.Start = func(ctx context.Context, args ...string) (Process, error) { return app.StartSelf(ctx, args...) }
	return &tour{Options: o, say: story{o.Out}, pace: p, home: t.TempDir(), work: t.TempDir()}
}
