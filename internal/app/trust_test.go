package app

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/understudy-proxy/understudy/internal/jks"
	"github.com/understudy-proxy/understudy/proxy/ca"
)

func authorityIn(t *testing.T, dir string) *ca.Authority {
	t.Helper()
	a, err := ca.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// machine has a root of the system's, a private one, and our authority.
type machine struct {
	dir                   string
	ours, system, private *ca.Authority
}

func newMachine(t *testing.T) *machine {
	dir := t.TempDir()
	return &machine{dir, authorityIn(t, filepath.Join(dir, "ours")), authorityIn(t, filepath.Join(dir, "system")), authorityIn(t, filepath.Join(dir, "private"))}
}

func (m *machine) put(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pemOf(t *testing.T, a *ca.Authority) []byte {
	t.Helper()
	data, err := os.ReadFile(a.CertPath())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// content is what the command sees at a path: which authorities, by name.
func (m *machine) content(t *testing.T, trust *trusting, path string) string {
	t.Helper()
	for _, f := range trust.files {
		if f.Path != path {
			continue
		}
		var data []byte
		if f.Base != "" {
			var err error
			if data, err = os.ReadFile(f.Base); err != nil {
				t.Fatal(err)
			}
		}
		data = append(data, f.Content...)
		certs := certificates(data)
		if jks.IsStore(data) {
			var err error
			if certs, err = jks.Decode(data); err != nil {
				t.Fatal(err)
			}
		}
		return m.names(certs)
	}
	return "not covered"
}

func (m *machine) names(certs [][]byte) string {
	var names []string
	for name, a := range map[string]*ca.Authority{"ours": m.ours, "system": m.system, "private": m.private} {
		if slices.ContainsFunc(certs, func(c []byte) bool { return bytes.Equal(c, a.Certificate().Raw) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func noVariables(string) string { return "" }

func TestTrustCoversBundles(t *testing.T) {
	m := newMachine(t)
	first, second := m.put(t, "first.pem", pemOf(t, m.system)), m.put(t, "second.pem", pemOf(t, m.private))
	missing := filepath.Join(m.dir, "missing.pem")
	trust, err := trustFor(m.ours, []string{missing, first, second}, nil, "", noVariables)
	if err != nil {
		t.Fatal(err)
	}
	// One that is preferred is what the system goes by, wherever it is looked for.
	for path, want := range map[string]string{first: "ours system", second: "ours system", missing: "not covered"} {
		if got := m.content(t, trust, path); got != want {
			t.Errorf("%s holds %q, want %q", filepath.Base(path), got, want)
		}
	}
	if len(trust.env) != len(caVariables) {
		t.Errorf("%d variables are set, want %d", len(trust.env), len(caVariables))
	}
	for _, v := range trust.env {
		if !strings.HasSuffix(v, "="+first) {
			t.Errorf("variable %s, want it to name %s", v, first)
		}
	}
}

// What a variable names keeps its content, and its name.
func TestTrustKeepsWhatVariablesName(t *testing.T) {
	m := newMachine(t)
	bundle, own := m.put(t, "bundle.pem", pemOf(t, m.system)), m.put(t, "own.pem", pemOf(t, m.private))
	t.Chdir(m.dir)
	trust, err := trustFor(m.ours, []string{bundle}, nil, "", func(name string) string {
		return map[string]string{
			"NODE_EXTRA_CA_CERTS": own,
			"REQUESTS_CA_BUNDLE":  "own.pem", // as good: the command starts here
			"SSL_CERT_FILE":       bundle,
			"AWS_CA_BUNDLE":       filepath.Join(m.dir, "gone.pem"),
			"CURL_CA_BUNDLE":      m.dir, // a directory is no bundle
		}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.content(t, trust, own), "ours private system"; got != want {
		t.Errorf("own.pem holds %q, want %q", got, want)
	}
	if len(trust.files) != 2 {
		t.Errorf("%d files are covered, want bundle.pem and own.pem", len(trust.files))
	}
	for _, name := range []string{"NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"} {
		if slices.ContainsFunc(trust.env, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
			t.Errorf("%s is changed, want it left alone", name)
		}
	}
	for _, name := range []string{"AWS_CA_BUNDLE", "CURL_CA_BUNDLE"} {
		if !slices.Contains(trust.env, name+"="+bundle) {
			t.Errorf("%s does not name the bundle", name)
		}
	}
}

// A machine without roots has nothing to be covered: our authority alone is all.
func TestTrustWithoutSystemRoots(t *testing.T) {
	m := newMachine(t)
	own := m.put(t, "own.pem", pemOf(t, m.private))
	trust, err := trustFor(m.ours, []string{filepath.Join(m.dir, "missing.pem")}, nil, "", func(name string) string {
		if name == "SSL_CERT_FILE" {
			return own
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.content(t, trust, own); !strings.Contains(got, "ours private") {
		t.Errorf("own.pem holds %q, want ours and private", got)
	}
	if !slices.Contains(trust.env, "CURL_CA_BUNDLE="+m.ours.CertPath()) {
		t.Errorf("variables are %q, want them to name our certificate", trust.env)
	}
}

// Each of Java's stores keeps what it trusted, whatever its format.
func TestTrustJava(t *testing.T) {
	m := newMachine(t)
	bundle := m.put(t, "bundle.pem", pemOf(t, m.system))
	old, err := jks.Encode([][]byte{m.private.Certificate().Raw}, "secret")
	if err != nil {
		t.Fatal(err)
	}
	modern, err := pkcs12.Passwordless.EncodeTrustStore([]*x509.Certificate{m.private.Certificate()}, "")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{m.private.Certificate()}, storePassword)
	if err != nil {
		t.Fatal(err)
	}
	stores := map[string]string{
		m.put(t, "jks", old):            "ours private system",
		m.put(t, "pkcs12", modern):      "ours private system",
		m.put(t, "password", locked):    "ours private system",
		m.put(t, "nonsense", []byte{1}): "ours system",
	}
	var paths []string
	for path := range stores {
		paths = append(paths, path)
	}
	trust, err := trustFor(m.ours, []string{bundle}, paths, "", noVariables)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range stores {
		if got := m.content(t, trust, path); got != want {
			t.Errorf("%s holds %q, want %q", filepath.Base(path), got, want)
		}
	}
}
