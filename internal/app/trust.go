package app

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/proxy/ca"
)

// trusting is what makes a captured command trust the authority: files that it
// sees in place of the machine's own, each the union of what was there and our
// authority, and variables for runtimes that read none of those.
type trusting struct {
	files []gateway.File
	env   []string
}

// trustFor finds the files and variables. bundles are the places of the system's
// roots, in order of preference; getenv reads the present environment. Nothing
// is written anywhere.
func trustFor(authority *ca.Authority, bundles []string, stores []string, getenv func(string) string) (*trusting, error) {
	var t trusting
	var roots bytes.Buffer
	if _, err := authority.Bundle(&roots); err != nil {
		return nil, err
	}
	covered := map[string]bool{}
	cover := func(path string, content []byte) {
		if covered[path] {
			return
		}
		covered[path] = true
		t.files = append(t.files, gateway.File{Path: path, Content: content})
	}
	home := "" // a file that has the union
	for _, path := range bundles {
		if isFile(path) {
			cover(path, roots.Bytes())
			if home == "" {
				home = path
			}
		}
	}
	for _, name := range caVariables {
		switch before := getenv(name); {
		case before != "" && isFile(before):
			if covered[before] {
				continue
			}
			var union bytes.Buffer
			if _, err := authority.Bundle(&union, before); err != nil {
				return nil, fmt.Errorf("roots for %s: %w", name, err)
			}
			cover(before, union.Bytes())
		case home != "":
			t.env = append(t.env, name+"="+home)
		}
	}
	if len(stores) > 0 {
		store, err := trustStore(roots.Bytes(), pkcs12.Passwordless, "")
		if err != nil {
			return nil, err
		}
		for _, path := range stores {
			cover(path, store)
		}
	}
	return &t, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// javaStores are the trust stores of the Java runtimes that can be found. Those
// before 8u301 and 11.0.12 want a password and take JAVA_TOOL_OPTIONS only.
func javaStores(getenv func(string) string) []string {
	const below = "lib/security/cacerts"
	found := []string{"/etc/ssl/certs/java/cacerts"} // Debian; its runtimes link to it
	if home := getenv("JAVA_HOME"); home != "" {
		found = append(found, filepath.Join(home, below), filepath.Join(home, "jre", below))
	}
	if java, err := exec.LookPath("java"); err == nil {
		if java, err = filepath.EvalSymlinks(java); err == nil {
			found = append(found, filepath.Join(filepath.Dir(java), "..", below))
		}
	}
	for _, pattern := range []string{"/usr/lib/jvm/*/" + below, "/usr/lib/jvm/*/jre/" + below, "/opt/java/*/" + below} {
		more, _ := filepath.Glob(pattern) // the patterns are sound
		found = append(found, more...)
	}
	var stores []string
	for _, path := range found {
		if real, err := filepath.EvalSymlinks(path); err == nil && isFile(real) && !slices.Contains(stores, real) {
			stores = append(stores, real)
		}
	}
	return stores
}

// trustStore makes a store for Java of the certificates of a PEM bundle.
func trustStore(bundle []byte, format *pkcs12.Encoder, password string) ([]byte, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			certs = append(certs, c)
		}
	}
	store, err := format.EncodeTrustStore(certs, password)
	if err != nil {
		return nil, fmt.Errorf("trust store for Java: %w", err)
	}
	return store, nil
}
