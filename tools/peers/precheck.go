package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
)

// precheck says which peers are absent and what installs them. Without the
// load generator, the upstream or understudy itself nothing can be measured.
func (b *bench) precheck() ([]string, error) {
	for program, remedy := range map[string]string{"wrk": "apt-get install wrk", "nginx": "apt-get install nginx-light"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%s is not there; install it: %s", program, remedy)
		}
	}
	if _, err := os.Stat(b.understudy); err != nil {
		return nil, fmt.Errorf("%w; build it: make build", err)
	}
	var absent []string
	need := func(peer, remedy string, there bool) {
		if !there {
			absent = append(absent, fmt.Sprintf("%s is not there: it will be left out; install it: %s", peer, remedy))
		}
	}
	program := func(name string) bool { _, err := exec.LookPath(name); return err == nil }
	file := func(name string) bool { _, err := os.Stat(filepath.Join(b.cache, name)); return err == nil }
	need("HAProxy", "apt-get install haproxy", program("haproxy"))
	need("mitmproxy", "apt-get install mitmproxy", program("mitmdump"))
	need("Toxiproxy", "make perf-peers builds it where the Go module can be had", file("toxiproxy"))
	_, err := b.wiremockJar()
	need("WireMock", "apt-get install default-jre-headless && npm install --prefix "+b.cache+" wiremock", program("java") && err == nil)
	need("mountebank", "apt-get install nodejs && npm install --prefix "+b.cache+" mountebank", program("node") && file("node_modules/mountebank/bin/mb"))
	return absent, nil
}

// versions says what was measured.
func (b *bench) versions() []string {
	var all []string
	add := func(s string) {
		if s = strings.TrimSpace(s); s != "" {
			all = append(all, s)
		}
	}
	first := func(s string) string { s, _, _ = strings.Cut(strings.TrimSpace(s), "\n"); return s }
	add(first(output(b.understudy, "--version")))
	add(runtime.Version())
	ha, _, _ := strings.Cut(first(output("haproxy", "-v")), " 20")
	add(ha)
	add(strings.Replace(first(output("nginx", "-v")), "nginx version: ", "", 1))
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if strings.HasSuffix(m.Path, "/goproxy") {
				add("goproxy " + m.Version)
			}
		}
	}
	if info, err := buildinfo.ReadFile(filepath.Join(b.cache, "toxiproxy")); err == nil {
		add("Toxiproxy " + info.Main.Version)
	}
	add(first(output("mitmdump", "--version")))
	for _, name := range []string{"wiremock", "mountebank"} {
		var pkg struct{ Version string }
		data, err := os.ReadFile(filepath.Join(b.cache, "node_modules", name, "package.json"))
		if err == nil && json.Unmarshal(data, &pkg) == nil {
			add(name + " " + pkg.Version)
		}
	}
	add(first(output("java", "-version")))
	if v := first(output("node", "--version")); v != "" {
		add("node " + v)
	}
	wrk, _, _ := strings.Cut(first(output("wrk", "-v")), " [")
	add(wrk)
	return all
}

// machine says on what it was measured.
func machine() string {
	field := func(file, key string) string {
		data, _ := os.ReadFile(file)
		_, rest, _ := strings.Cut(string(data), key)
		rest, _, _ = strings.Cut(rest, "\n")
		return strings.Trim(rest, " \t:\"")
	}
	var u syscall.Utsname
	_ = syscall.Uname(&u)
	var release strings.Builder
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		release.WriteByte(byte(c))
	}
	load, _ := os.ReadFile("/proc/loadavg")
	load1, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%d × %s, %s, Linux %s, %s; load before the run %s", runtime.NumCPU(),
		field("/proc/cpuinfo", "model name"), field("/proc/meminfo", "MemTotal:"), release.String(),
		field("/etc/os-release", "PRETTY_NAME="), load1)
}
