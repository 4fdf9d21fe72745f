package main

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/understudy-proxy/understudy/internal/app"
)

// TestMain lets the stories run this test binary as understudy.
func TestMain(m *testing.M) {
	app.Shim() // where a story captures a command
	testscript.Main(m, map[string]func(){"understudy": main, "fetch": unaware})
}

// TestStories runs each story of testdata: what a user does, and sees.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
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
			"cut":      scriptCut,
			"flip":     scriptFlip,
			"edit":     scriptEdit,
		},
		Condition:           condition,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}
