package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"
)

// ask is one request of a client's plan.
type ask struct {
	name, method, url string
	proxy             string // "" for none
	body              string // "@N" for N bytes
	header            []string
	status            int    // wanted
	shows             string // must stand in what the client saw
}

// planLine is an ask as the scripted clients read it.
func (a *ask) planLine() string {
	return strings.Join([]string{a.name, a.method, a.url, a.proxy, a.body, strings.Join(a.header, "|")}, "\t") + "\n"
}

func (a *ask) bytes() []byte {
	if n, err := strconv.Atoi(strings.TrimPrefix(a.body, "@")); err == nil && strings.HasPrefix(a.body, "@") {
		return bytes.Repeat([]byte("a"), n)
	}
	return []byte(a.body)
}

// client is a program that makes requests and says what it saw: for each, a
// line "STATUS REASON", the fields in order, the body's hash.
type client struct {
	name string
	// ready returns what the client needs to run, made in dir; it skips where
	// something is missing.
	ready func(s *stage, t *testing.T, dir string) string
	run   func(s *stage, t *testing.T, program string, asks []ask) []string
	// cannot says whether a request is beyond it.
	cannot func(d door, c *call) bool
	// cannotShow says whether it hides what a call is about.
	cannotShow func(c *call) bool
	// whole is a recording without redaction: cookies come back as they were.
	whole bool
}

var clients = []client{
	{name: "curl", ready: curlReady, run: curl("--http1.1"), whole: true},
	{name: "curl --http2", ready: curlReady, run: curl("--http2"),
		cannot: func(d door, c *call) bool { return d.scheme == "http" && c.host != "nginx.test" }}, // where it asks for an upgrade
	{name: "curl --http2-prior-knowledge", ready: curlReady, run: curl("--http2-prior-knowledge"),
		cannot: func(d door, _ *call) bool { return d.forward }}, // there it would speak HTTP/2 to the proxy itself
	{name: "node http.request", ready: program("node"), run: scripted("client.mjs", "request")},
	{name: "node fetch", ready: program("node"), run: scripted("client.mjs", "fetch"), cannotShow: interim,
		cannot: func(d door, c *call) bool { return d.forward || c.expect() }},
	{name: "python urllib", ready: program("python3"), run: scripted("client.py", "urllib"), cannot: noInterim},
	{name: "python requests", ready: requestsReady, run: scripted("client.py", "requests"), cannot: noInterim},
	{name: "java HTTP/1.1", ready: javaReady, run: java("HTTP_1_1"), cannot: noInterim},
	{name: "java HTTP/2", ready: javaReady, run: java("HTTP_2"), cannot: noInterim},
}

func interim(c *call) bool { return c.path == "/hints" }

// noInterim: Python's http.client and Java 17 take a 103 for the answer.
func noInterim(_ door, c *call) bool { return interim(c) }

func program(name string) func(*stage, *testing.T, string) string {
	return func(_ *stage, t *testing.T, _ string) string { return need(t, name)[0] }
}

func curlReady(_ *stage, t *testing.T, _ string) string { return need(t, "curl")[0] }

func requestsReady(s *stage, t *testing.T, _ string) string {
	python := need(t, "python3")[0]
	if _, _, code := s.command(t, nil, python, "-c", "import requests"); code != 0 {
		lacking(t, "Python's requests")
	}
	return python
}

// javaReady compiles the client into dir, and makes a trust store there.
func javaReady(s *stage, t *testing.T, dir string) string {
	javac := need(t, "javac", "java")[0]
	if _, errs, code := s.command(t, nil, javac, "-d", dir, helper(t, "Client.java")); code != 0 {
		t.Fatalf("javac: %s", errs)
	}
	data, err := os.ReadFile(s.caFile)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	store, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{cert}, "changeit")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "roots.p12"), store, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// curl makes one call of curl for each request. What it saw is the head as curl
// dumps it, interim responses and trailers included, and the body's hash.
func curl(version string) func(*stage, *testing.T, string, []ask) []string {
	return func(s *stage, t *testing.T, program string, asks []ask) []string {
		dir := t.TempDir()
		head, out, data := filepath.Join(dir, "head"), filepath.Join(dir, "out"), filepath.Join(dir, "data")
		var views []string
		for _, a := range asks {
			args := []string{"-q", "-sS", "--path-as-is", "--max-time", "20", version, "--cacert", s.caFile, "-D", head, "-o", out}
			if a.method == "HEAD" {
				args = append(args, "-I")
			} else {
				args = append(args, "-X", a.method)
			}
			if a.proxy != "" {
				args = append(args, "-x", a.proxy, "--suppress-connect-headers")
			}
			for _, f := range a.header {
				args = append(args, "-H", f)
			}
			if a.body != "" {
				if err := os.WriteFile(data, a.bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--data-binary", "@"+data)
			}
			for _, f := range []string{head, out} {
				if err := os.WriteFile(f, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, errs, code := s.command(t, nil, program, append(args, a.url)...)
			heads, err := os.ReadFile(head)
			if err != nil {
				t.Fatal(err)
			}
			body, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if a.method == "HEAD" {
				body = nil // curl -I writes the head there
			}
			view := fmt.Sprintf("%ssha256 %x %d\n", heads, sha256.Sum256(body), len(body))
			if code != 0 {
				view = fmt.Sprintf("error: curl exit %d: %s\n%s", code, errs, view)
			}
			views = append(views, view)
		}
		return views
	}
}

// statusOf is the final status in a view: the last status line in it.
func statusOf(view string) int {
	status := 0
	for line := range strings.Lines(view) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if strings.HasPrefix(f[0], "HTTP/") && len(f) > 1 {
			f = f[1:]
		} else if line != view[:len(line)] {
			continue
		}
		if n, err := strconv.Atoi(f[0]); err == nil {
			status = n
		}
	}
	return status
}

// scripted runs a client of testdata/real with a plan.
func scripted(script, what string) func(*stage, *testing.T, string, []ask) []string {
	return func(s *stage, t *testing.T, program string, asks []ask) []string {
		env := []string{"SSL_CERT_FILE=" + s.caFile, "REQUESTS_CA_BUNDLE=" + s.caFile, "NODE_EXTRA_CA_CERTS=" + s.caFile}
		return s.planned(t, asks, env, program, helper(t, script), what)
	}
}

func java(version string) func(*stage, *testing.T, string, []ask) []string {
	return func(s *stage, t *testing.T, dir string, asks []ask) []string {
		return s.planned(t, asks, nil, need(t, "java")[0], "-XX:TieredStopAtLevel=1", "-cp", dir, "-Djavax.net.ssl.trustStore="+filepath.Join(dir, "roots.p12"),
			"-Djavax.net.ssl.trustStorePassword=changeit", "-Djdk.httpclient.allowRestrictedHeaders=host,connection", "Client", version)
	}
}

// planned runs a client whose last argument is the plan's file, and cuts its
// output at the lines "== NAME".
func (s *stage) planned(t *testing.T, asks []ask, env []string, name string, args ...string) []string {
	t.Helper()
	var plan strings.Builder
	for _, a := range asks {
		plan.WriteString(a.planLine())
	}
	file := filepath.Join(t.TempDir(), "plan")
	if err := os.WriteFile(file, []byte(plan.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := s.command(t, env, name, append(slices.Clone(args), file)...)
	if code != 0 {
		t.Fatalf("%s: exit %d: %s", filepath.Base(name), code, errs)
	}
	var views []string
	for part := range strings.SplitSeq("\n"+out, "\n== ") {
		if _, view, ok := strings.Cut(part, "\n"); ok && part != "" {
			views = append(views, view)
		}
	}
	if len(views) != len(asks) {
		t.Fatalf("%s answered %d of %d requests:\n%s\n%s", filepath.Base(name), len(views), len(asks), out, errs)
	}
	return views
}
