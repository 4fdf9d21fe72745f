package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/shaping"
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

// hasNetem reports whether this kernel has netem, for a captured command's link.
var hasNetem = sync.OnceValue(func() bool {
	lacks := false
	g, err := gateway.Start(context.Background(), gateway.Options{Argv: []string{"true"}, Ready: func(g *gateway.Gateway) error {
		end := g.Up()
		_, err := shaping.Apply(context.Background(), shaping.Target{Socket: end.Socket, Interface: end.Name},
			shaping.Link{Up: shaping.Conditions{Delay: time.Millisecond}})
		lacks = err != nil
		return err
	}})
	if err == nil {
		_ = g.Close()
	}
	return !lacks
})

// condition answers [capture] and [netem] in stories.
func condition(name string) (bool, error) {
	switch name {
	case "capture":
		return canCapture(), nil
	case "netem":
		return hasNetem(), nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}
