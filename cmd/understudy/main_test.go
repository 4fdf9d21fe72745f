package main

import (
	"cmp"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/understudy-proxy/understudy/internal/app"
	"github.com/understudy-proxy/understudy/internal/umltest"
)

// TestMain lets the stories run this test binary as understudy.
func TestMain(m *testing.M) {
	app.Shim() // where a story captures a command
	testscript.Main(m, map[string]func(){"understudy": main, "fetch": unaware, "roundtrip": roundTrip, "asks": asks})
}

// TestStories runs each story of testdata: what a user does, and sees.
func TestStories(t *testing.T) { testscript.Run(t, stories("testdata")) }

// TestInUserModeLinux runs the stories of testdata/guest, which shape links, in a
// kernel of their own, and link_netem, which most kernels skip.
func TestInUserModeLinux(t *testing.T) {
	umltest.Run(t, cmp.Or(os.Getenv("UNDERSTUDY_INTERNAL_TEST_GUEST"), "^TestGuestStories$"))
}

func TestGuestStories(t *testing.T) {
	umltest.Guest(t)
	p := stories("")
	for _, pattern := range []string{"testdata/guest/*.txtar", "testdata/link_netem.txtar"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no story (%v)", pattern, err)
		}
		p.Files = append(p.Files, files...)
	}
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		e.Setenv("PATH", e.Getenv("PATH")+":/usr/sbin:/sbin:/usr/bin:/bin")
		return setup(e)
	}
	testscript.Run(t, p)
}

func stories(dir string) testscript.Params {
	return testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, ".home")
			e.Setenv("HOME", home)
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
			e.Setenv("XDG_STATE_HOME", filepath.Join(home, "state"))
			running := &players{byName: map[string]*player{}, servers: map[string]*httptest.Server{}}
			e.Values[playersKey{}] = running
			e.Defer(running.end)
			return os.MkdirAll(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":     scriptCode,
			"start":    scriptStart,
			"waitline": scriptWaitLine,
			"finish":   scriptFinish,
			"ended":    scriptEnded,
			"upstream": scriptUpstream,
			"silence":  scriptSilence,
			"get":      scriptGet,
			"statuses": scriptStatuses,
			"decided":  scriptDecided,
			"cut":      scriptCut,
			"flip":     scriptFlip,
			"edit":     scriptEdit,
			"sigkill":  scriptKill,
			"becomes":  scriptBecomes,
		},
		Condition:           condition,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	}
}
