package app

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/understudy-proxy/understudy/internal/gate"
)

// stages are the scenarios that `understudy gate` knows, in the order of its report.
var stages = []stage{
	{name: "reverse", set: reverse("proxy")},
	{name: "forward", set: forward},
	{name: "intercept", set: intercept, without: func(_ context.Context, up *gate.Upstream, _ bool) (gate.Endpoint, func() error, error) {
		return gate.Endpoint{URL: up.TLS, Roots: up.Roots}, nothing, nil
	}},
	{name: "h2", set: http2, without: func(_ context.Context, up *gate.Upstream, _ bool) (gate.Endpoint, func() error, error) {
		return gate.Endpoint{URL: up.HTTP2, Roots: up.Roots, HTTP2: true}, nothing, nil
	}},
	{name: "tcp", set: tcp},
	{name: "captured", set: captured, loads: true},
	{name: "record", set: reverse("record", "-o", "cassette")},
	{name: "rules", set: withRules},
	{name: "replay", set: replay(1)},
	{name: "replay-100000", set: replay(100_000)},
	{name: "replay-stream", set: replayStream, without: func(_ context.Context, up *gate.Upstream, _ bool) (gate.Endpoint, func() error, error) {
		return gate.Endpoint{URL: up.URL + gate.StreamPath}, nothing, nil
	}},
}

func nothing() error { return nil }

// reverse stands in front of the upstream's plain URL. The argument after "-o"
// is a name in the run's own directory.
func reverse(mode string, more ...string) func(*gate.Upstream, string) (setting, error) {
	return func(up *gate.Upstream, dir string) (setting, error) {
		args := append([]string{mode, "--reverse", "127.0.0.1:0=" + up.URL}, more...)
		if len(more) > 0 {
			args[len(args)-1] = filepath.Join(dir, more[len(more)-1])
		}
		return setting{args, func(s *Self) gate.Endpoint { return gate.Endpoint{URL: s.Address("reverse")} }}, nil
	}
}

func forward(up *gate.Upstream, _ string) (setting, error) {
	return setting{[]string{"proxy", "--forward", "127.0.0.1:0"}, func(s *Self) gate.Endpoint {
		return gate.Endpoint{URL: up.URL, ProxyURL: s.Address("forward")}
	}}, nil
}

// intercept opens TLS after a CONNECT, and speaks TLS to the upstream.
func intercept(up *gate.Upstream, dir string) (setting, error) {
	args, err := trust(up.Roots, dir)
	if err != nil {
		return setting{}, err
	}
	roots, err := ownCA(dir)
	return setting{append([]string{"proxy", "--forward", "127.0.0.1:0"}, args...), func(s *Self) gate.Endpoint {
		return gate.Endpoint{URL: up.TLS, ProxyURL: s.Address("forward"), Roots: roots}
	}}, err
}

// http2 speaks HTTP/2 over TLS on both sides.
func http2(up *gate.Upstream, dir string) (setting, error) {
	args, err := trust(up.Roots, dir)
	if err != nil {
		return setting{}, err
	}
	roots, err := ownCA(dir)
	return setting{append([]string{"proxy", "--reverse", "127.0.0.1:0=" + up.HTTP2}, args...), func(s *Self) gate.Endpoint {
		return gate.Endpoint{URL: secured(s.Address("reverse")), Roots: roots, HTTP2: true}
	}}, err
}

// secured is the https URL of a door that takes cleartext and TLS alike.
func secured(address string) string { return "https" + strings.TrimPrefix(address, "http") }

func tcp(up *gate.Upstream, _ string) (setting, error) {
	return setting{[]string{"proxy", "--tcp", "127.0.0.1:0=" + strings.TrimPrefix(up.URL, "http://")}, func(s *Self) gate.Endpoint {
		return gate.Endpoint{URL: "http://" + s.Address("tcp")}
	}}, nil
}

// withRules has a hundred rules, of which one holds and does next to nothing.
func withRules(up *gate.Upstream, dir string) (setting, error) {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range 99 {
		fmt.Fprintf(&b, "  - name: rule %d\n    when: request.method == \"POST\" && request.path startsWith \"/part/%d\"\n    fault: {status: 503}\n", i, i)
	}
	b.WriteString("  - name: the one that holds\n    when: request.method == \"GET\"\n    headers: {response: {set: {X-Rule: held}}}\n")
	file := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return setting{}, err
	}
	set, err := reverse("proxy")(up, dir)
	set.args = append(set.args, "--rules", file)
	return set, err
}

// replay answers from a cassette of n exchanges of 1 KiB, which the load asks
// for in turn. The upstream is only compared with.
func replay(n int) func(*gate.Upstream, string) (setting, error) {
	return func(_ *gate.Upstream, dir string) (setting, error) {
		file := filepath.Join(dir, "cassette.ndjson")
		if err := writeItems(file, n); err != nil {
			return setting{}, err
		}
		return setting{replayArgs(file), func(s *Self) gate.Endpoint {
			at := gate.Endpoint{URL: s.Address("reverse") + itemPath, Spread: n}
			if n == 1 {
				at.URL += "0"
			}
			return at
		}}, nil
	}
}

// replayStream answers with server-sent events in their recorded rhythm.
func replayStream(_ *gate.Upstream, dir string) (setting, error) {
	file := filepath.Join(dir, "cassette.ndjson")
	if err := writeStream(file); err != nil {
		return setting{}, err
	}
	return setting{replayArgs(file), func(s *Self) gate.Endpoint {
		return gate.Endpoint{URL: s.Address("reverse") + gate.StreamPath}
	}}, nil
}

// replayArgs play file as recordedHost.
func replayArgs(file string) []string {
	return []string{"replay", "-f", file, "--repeat", "loop", "--reverse", "127.0.0.1:0=http://" + recordedHost}
}

// before is this program as a reverse proxy in front of a URL of the user's.
func before(target string, like gate.Endpoint) stage {
	return stage{name: GateURLName, set: func(_ *gate.Upstream, dir string) (setting, error) {
		u, err := url.Parse(target)
		if err != nil {
			return setting{}, err
		}
		args, err := trust(like.Roots, dir)
		if err != nil {
			return setting{}, err
		}
		roots, err := ownCA(dir)
		args = append([]string{"proxy", "--reverse", "127.0.0.1:0=" + u.Scheme + "://" + u.Host}, args...)
		return setting{args, func(s *Self) gate.Endpoint {
			at := like
			at.URL, at.ProxyURL, at.Roots = s.Address("reverse")+u.RequestURI(), "", ""
			if u.Scheme == "https" { // TLS in front where there is TLS behind
				at.URL, at.Roots = secured(at.URL), roots
			}
			return at
		}}, err
	}}
}
