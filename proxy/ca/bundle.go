package ca

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// bundleFiles are where systems keep their roots in one file.
var bundleFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Alpine, Arch
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL, Fedora
	"/etc/pki/tls/certs/ca-bundle.crt",                  // older RHEL
	"/etc/ssl/ca-bundle.pem",                            // SUSE
	"/etc/ssl/cert.pem",                                 // macOS, the BSDs
}

// BundleFiles returns where systems keep their roots in one file, whether it is
// there or not.
func BundleFiles() []string { return slices.Clone(bundleFiles) }

// Bundle writes the system's roots, the certificates of more files (such as one
// that SSL_CERT_FILE already named) and the authority to w, in PEM and without
// repeats: a bundle with our authority alone would break every public host. It
// returns the file that the system's roots came from, "" where it has none. A
// file of more that is missing is an error.
func (a *Authority) Bundle(w io.Writer, more ...string) (system string, err error) {
	return a.bundle(w, bundleFiles, more)
}

func (a *Authority) bundle(w io.Writer, known, more []string) (system string, err error) {
	seen := map[string]bool{}
	write := func(der []byte) error {
		if seen[string(der)] {
			return nil
		}
		seen[string(der)] = true
		return pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	add := func(file string) error {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" {
				continue // a key has no place in a bundle
			}
			if err := write(block.Bytes); err != nil {
				return err
			}
		}
		return nil
	}
	for _, file := range known {
		err := add(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("write certificate bundle: %w", err)
		}
		system = file
		break
	}
	for _, file := range more {
		if err := add(file); err != nil {
			return "", fmt.Errorf("write certificate bundle: %w", err)
		}
	}
	if err := write(a.cert.Raw); err != nil {
		return "", fmt.Errorf("write certificate bundle: %w", err)
	}
	return system, nil
}
