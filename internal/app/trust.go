package app

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/internal/jks"
	"github.com/understudy-proxy/understudy/proxy/ca"
)

// trusting is what makes a captured command trust the authority: files that it
// sees in place of the machine's own, each the union of what was there and our
// authority, and variables for runtimes that read none of those.
type trusting struct {
	files []gateway.File
	env   []string
	roots string // the file that most variables name
}

// trustFor finds the files and variables. bundles are the places of the system's
// roots, in order of preference; stores Java's; getenv reads the present
// environment. Nothing is written anywhere but in the cache.
func trustFor(authority *ca.Authority, bundles []string, stores []string, kept cache, getenv func(string) string) (*trusting, error) {
	var t trusting
	covered := map[string]bool{}
	cover := func(f gateway.File) {
		if !covered[f.Path] {
			covered[f.Path] = true
			t.files = append(t.files, f)
		}
	}
	// A machine without roots has no bundle to cover: there ours alone is the union.
	ours := append([]byte{'\n'}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw})...)
	home, system := authority.CertPath(), ""
	for _, path := range slices.Backward(bundles) { // the preferred last
		if isFile(path) {
			home, system = path, path
		}
	}
	t.roots = home
	for _, path := range bundles {
		if isFile(path) {
			// As it is, and not decoded and written anew: that takes milliseconds.
			cover(gateway.File{Path: path, Base: system, Content: ours})
		}
	}
	for _, name := range caVariables {
		before := getenv(name)
		if before == "" || !isFile(before) {
			t.env = append(t.env, name+"="+home)
			continue
		}
		before, err := filepath.Abs(before)
		if err != nil {
			return nil, fmt.Errorf("roots for %s: %w", name, err)
		}
		if covered[before] {
			continue
		}
		named, err := os.ReadFile(before)
		if err != nil {
			return nil, fmt.Errorf("roots for %s: %w", name, err)
		}
		both := bytes.NewBuffer(slices.Clone(ours))
		for _, c := range certificates(named) { // a key beside them has no place in a bundle
			if err := pem.Encode(both, &pem.Block{Type: "CERTIFICATE", Bytes: c}); err != nil {
				return nil, fmt.Errorf("roots for %s: %w", name, err)
			}
		}
		cover(gateway.File{Path: before, Base: system, Content: both.Bytes()})
	}
	known := sync.OnceValues(func() ([][]byte, error) {
		if system == "" {
			return certificates(ours), nil
		}
		data, err := os.ReadFile(system)
		if err != nil {
			return nil, fmt.Errorf("system roots: %w", err)
		}
		return certificates(append(data, ours...)), nil
	})
	for _, path := range stores {
		f, err := kept.file(path, "jks", []string{path, system}, ours, func() ([]byte, error) {
			roots, err := known()
			if err != nil {
				return nil, err
			}
			return jks.Encode(union(storeRoots(path), roots), storePassword)
		})
		if err != nil {
			return nil, fmt.Errorf("trust store for Java: %w", err)
		}
		cover(f)
	}
	return &t, nil
}

// union is the certificates of a and then those of b that are not in a.
func union(a, b [][]byte) [][]byte {
	all := slices.Clip(a)
	seen := make(map[string]bool, len(a))
	for _, c := range a {
		seen[string(c)] = true
	}
	for _, c := range b {
		if !seen[string(c)] {
			seen[string(c)] = true
			all = append(all, c)
		}
	}
	return all
}

// certificates are those of a PEM bundle, in DER.
func certificates(bundle []byte) (certs [][]byte) {
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			certs = append(certs, block.Bytes)
		}
	}
	return certs
}

// storeRoots are the certificates of a trust store of Java's own; none where it
// cannot be read: the system's are there in any case.
func storeRoots(path string) (certs [][]byte) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	if jks.IsStore(data) {
		certs, _ = jks.Decode(data)
		return certs
	}
	for _, password := range []string{"", storePassword} {
		found, err := pkcs12.DecodeTrustStore(data, password)
		if err != nil {
			continue
		}
		for _, c := range found {
			certs = append(certs, c.Raw)
		}
		break
	}
	return certs
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// javaStores are the trust stores of the Java runtimes that can be found.
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
	for _, dir := range []string{"/usr/lib/jvm", "/opt/java"} {
		runtimes, _ := os.ReadDir(dir) // most machines have none
		for _, r := range runtimes {
			home := filepath.Join(dir, r.Name())
			found = append(found, filepath.Join(home, below), filepath.Join(home, "jre", below))
		}
	}
	var stores []string
	for _, path := range found {
		if !isFile(path) { // one question; a link takes one for each part of its path
			continue
		}
		if real, err := filepath.EvalSymlinks(path); err == nil && !slices.Contains(stores, real) {
			stores = append(stores, real)
		}
	}
	return stores
}
