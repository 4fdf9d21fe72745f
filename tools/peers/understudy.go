package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// run starts the program in one of its modes; ledger, metrics and the
// admin interface are on, as they are by default.
func (b *bench) run(mode string, args ...string) (*process, error) {
	argv := append([]string{b.understudy, mode, "--seed", "1", "--json", "--set", "intercept.ca_dir=" + b.path("ca"),
		"--set", "upstream.insecure=true"}, args...)
	return b.start("understudy", argv...)
}

func usReverse(secure bool, path string, extra ...string) starter {
	return func(_ context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		p, err := b.run("proxy", append([]string{"--reverse", addr + "=" + scheme(secure) + b.upstream(secure)}, extra...)...)
		return server{url: scheme(secure) + addr + path, process: p}, err
	}
}

func usForward(path string) starter {
	return func(_ context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		p, err := b.run("proxy", "--forward", addr)
		return b.forwardServer(addr, path, p, err)
	}
}

func usTCP(path string) starter {
	return func(_ context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		p, err := b.run("proxy", "--tcp", addr+"="+b.upstream(false))
		return server{url: "http://" + addr + path, process: p}, err
	}
}

// usRecord records into a new cassette at each start, and tells when it lost
// exchanges.
func usRecord(secure bool, path string) starter {
	return func(_ context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		b.serial++
		dir := b.path(fmt.Sprintf("cassette-%d", b.serial))
		p, err := b.run("record", "-o", dir, "--reverse", addr+"="+scheme(secure)+b.upstream(secure))
		if err != nil {
			return server{}, err
		}
		ended := func() string {
			said := p.lost()
			if err := os.RemoveAll(dir); err != nil {
				said += err.Error()
			}
			return said
		}
		return server{url: scheme(secure) + addr + path, process: p, ended: ended}, nil
	}
}

// lost reads the recorder's own count from the final report.
func (p *process) lost() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	var report struct {
		Event  string `json:"event"`
		Ledger struct {
			Recording struct {
				Begun    int64            `json:"begun"`
				Recorded int64            `json:"recorded"`
				Lost     map[string]int64 `json:"lost"`
			} `json:"recording"`
		} `json:"ledger"`
	}
	// The log's own lines stand between the events.
	for line := range strings.Lines(string(data)) {
		if json.Unmarshal([]byte(line), &report) == nil && report.Event == "report" {
			break
		}
	}
	if report.Event != "report" {
		return "ended without a report" + p.tail()
	}
	r := report.Ledger.Recording
	if r.Recorded == r.Begun {
		return ""
	}
	return fmt.Sprintf("recorded %d of %d exchanges, lost %v", r.Recorded, r.Begun, r.Lost)
}

// usRules passes on under 100 rules of which one matches.
func usRules(path string) starter {
	return func(ctx context.Context, b *bench) (server, error) {
		var text strings.Builder
		text.WriteString("rules:\n")
		for i := range 99 {
			fmt.Fprintf(&text, "  - name: rule %d\n    when: request.method == \"GET\" && request.path startsWith \"/service/%d/\"\n    fault: {status: 503}\n", i, i)
		}
		fmt.Fprintf(&text, "  - name: hit\n    when: request.method == \"GET\" && request.path == %q\n    headers: {response: {set: {X-Rule: hit}}}\n", path)
		file, err := b.write("rules.yaml", text.String())
		if err != nil {
			return server{}, err
		}
		return usReverse(false, path, "--rules", file)(ctx, b)
	}
}

// usDelayRule passes on under a rule that delays: so long in all, as the client sees it.
func usDelayRule(path string, delay time.Duration) starter {
	return func(ctx context.Context, b *bench) (server, error) {
		file, err := b.write("rules.yaml", fmt.Sprintf("rules:\n  - name: delay\n    delay: {total: %v}\n", delay))
		if err != nil {
			return server{}, err
		}
		return usReverse(false, path, "--rules", file)(ctx, b)
	}
}

const stubHost = "stub.test"

// usReplay answers from a cassette of n exchanges.
func usReplay(n int) starter {
	return func(_ context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		dir, err := b.cassette(fmt.Sprintf("replay-%d", n), stubHost, n)
		if err != nil {
			return server{}, err
		}
		p, err := b.run("replay", "-f", dir, "--timing", "none", "--reverse", addr+"=http://"+stubHost)
		return b.stubServer(addr, n, p, err)
	}
}

// usDelayStub answers from a stub with a delay.
func usDelayStub(delay time.Duration) starter {
	return func(_ context.Context, b *bench) (server, error) {
		addr, err := freePort()
		if err != nil {
			return server{}, err
		}
		file, err := b.write("stub.yaml", fmt.Sprintf("- name: delayed\n  request: {method: GET, path: %s}\n"+
			"  response: {status: 200, headers: {Content-Type: application/json}, body: '%s'}\n  delay: %v\n", stubPath, smallBody(), delay))
		if err != nil {
			return server{}, err
		}
		p, err := b.run("replay", "-f", file, "--reverse", addr+"=http://"+stubHost)
		return b.stubServer(addr, 1, p, err)
	}
}
