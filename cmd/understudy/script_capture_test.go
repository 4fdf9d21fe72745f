package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"

	"github.com/understudy-proxy/understudy/internal/gateway"
)

// unaware is a program that has never heard of proxies: it writes the bodies at
// its arguments, URLs, to standard output.
func unaware() {
	c := http.Client{Transport: &http.Transport{Proxy: nil, ForceAttemptHTTP2: true}}
	for _, url := range os.Args[1:] {
		resp, err := c.Get(url)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_, err = io.Copy(os.Stdout, resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// canCapture reports whether this machine lets a command be captured. Where all
// tests must run, it does.
var canCapture = sync.OnceValue(func() bool {
	missing := slices.ContainsFunc(gateway.Probe(context.Background()), func(f gateway.Finding) bool { return f.Needed && !f.OK })
	return !missing || os.Getenv("UNDERSTUDY_INTERNAL_TEST_ALL") != ""
})

// condition answers [capture] in stories.
func condition(name string) (bool, error) {
	if name == "capture" {
		return canCapture(), nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}
