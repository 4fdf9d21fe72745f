package proxy

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// caDir is where the tests' CA lives.
var caDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "understudy-proxy")
	if err != nil {
		panic(err)
	}
	caDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}
