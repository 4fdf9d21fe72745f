package ca

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBundleIsAUnion(t *testing.T) {
	a, _ := newAuthority(t)
	system, _ := newAuthority(t)
	set, _ := newAuthority(t)
	dir := t.TempDir()
	file := func(name string, parts ...[]byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bytes.Join(parts, []byte("# words between\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret, _ := os.ReadFile(filepath.Join(set.dir, secretName))
	roots := file("system.pem", encodeCert(system.cert), encodeCert(a.cert))
	// The second one repeats a root and holds a key, which must not come along.
	more := file("more.pem", secret, encodeCert(system.cert))

	var b bytes.Buffer
	from, err := a.bundle(&b, []string{filepath.Join(dir, "missing"), roots, more}, []string{more})
	if err != nil || from != roots {
		t.Fatalf("bundle = %q, %v, want %q", from, err, roots)
	}
	certs, err := parseCerts(b.Bytes())
	if err != nil || len(certs) != 3 {
		t.Fatalf("bundle has %d certificates (%v), want 3", len(certs), err)
	}
	for i, want := range []*Authority{system, a, set} {
		if !certs[i].Equal(want.cert) {
			t.Errorf("certificate %d = %s, want %s", i, certs[i].Subject, want.cert.Subject)
		}
	}
	b.Reset()
	if from, err := a.bundle(&b, nil, nil); from != "" || err != nil || !bytes.Equal(b.Bytes(), encodeCert(a.cert)) {
		t.Errorf("bundle without system roots = %q, %v, want our certificate alone", from, err)
	}
	if _, err := a.Bundle(&b, filepath.Join(dir, "missing")); err == nil {
		t.Error("Bundle with a missing file: no error")
	}
}

func TestTrustPlan(t *testing.T) {
	a, _ := newAuthority(t)
	found := func(string) (string, error) { return "/bin/x", nil }
	absent := func(string) (string, error) { return "", errors.New("not found") }
	mkdir := func(dirs ...string) string {
		root := t.TempDir()
		for _, d := range dirs {
			if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	for dir, command := range map[string]string{
		"/usr/local/share/ca-certificates": "update-ca-certificates",
		"/etc/pki/ca-trust/source/anchors": "update-ca-trust extract",
	} {
		root := mkdir(dir)
		p, err := a.trustPlan("linux", root, found)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(p.Trust, " "); got != command || filepath.Dir(p.File) != filepath.Join(root, dir) {
			t.Errorf("plan = %s, %s, want %s in %s", got, p.File, command, dir)
		}
	}
	for _, tt := range []struct {
		goos, root string
		look       func(string) (string, error)
		want       string
	}{
		{"linux", mkdir(), found, "no known store"},
		{"linux", mkdir("/usr/local/share/ca-certificates"), absent, "no known store"},
		{"darwin", "/", found, "security add-trusted-cert"},
		{"windows", "/", found, "certutil"},
		{"plan9", "/", found, "by hand"},
	} {
		if _, err := a.trustPlan(tt.goos, tt.root, tt.look); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("plan on %s = %v, want an error with %q", tt.goos, err, tt.want)
		}
	}
}

func TestTrustAndUntrust(t *testing.T) {
	a, _ := newAuthority(t)
	dir := t.TempDir()
	p := &TrustPlan{File: filepath.Join(dir, "anchor.crt"), Trust: []string{"true"}, Untrust: []string{"true"}, content: encodeCert(a.cert)}
	if err := p.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(p.File); err != nil || !bytes.Equal(data, encodeCert(a.cert)) {
		t.Errorf("anchor = %q, %v, want our certificate", data, err)
	}
	for range 2 { // the second time there is nothing to remove
		if err := p.Remove(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(p.File); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("anchor after Remove: %v, want none", err)
	}
	p.Trust = []string{"false"}
	if err := p.Install(t.Context()); err == nil || !strings.Contains(err.Error(), "run false") {
		t.Errorf("Install with a failing command = %v", err)
	}
	if _, err := os.Stat(p.File); !errors.Is(err, os.ErrNotExist) {
		t.Error("a failed Install left its anchor")
	}
}
