package ca

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// TrustPlan is what it takes to have this system trust the authority. Carrying
// it out needs root, except on a system whose directories the user owns.
type TrustPlan struct {
	File    string   // the anchor to write, or to remove
	Trust   []string // the command to run after File was written
	Untrust []string // the command to run after File was removed
	content []byte
}

// store is one family of systems.
type store struct {
	dir, ext       string
	trust, untrust []string
}

// The directory tells the family; SUSE's comes before Debian's, whose command
// has the same name.
var stores = []store{
	{"/etc/pki/trust/anchors", ".pem", []string{"update-ca-certificates"}, []string{"update-ca-certificates"}},
	{"/etc/pki/ca-trust/source/anchors", ".pem", []string{"update-ca-trust", "extract"}, []string{"update-ca-trust", "extract"}},
	{"/etc/ca-certificates/trust-source/anchors", ".crt", []string{"trust", "extract-compat"}, []string{"trust", "extract-compat"}},
	{"/usr/local/share/ca-certificates", ".crt", []string{"update-ca-certificates"}, []string{"update-ca-certificates", "--fresh"}},
}

// TrustPlan returns the plan for this system. Where it knows none, the error
// says how to do it by hand.
func (a *Authority) TrustPlan() (*TrustPlan, error) {
	return a.trustPlan(runtime.GOOS, "/", exec.LookPath)
}

func (a *Authority) trustPlan(goos, root string, lookPath func(string) (string, error)) (*TrustPlan, error) {
	switch goos {
	case "linux":
	case "darwin":
		return nil, fmt.Errorf("trust %[1]s: by hand on this system; run: sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain %[1]s", a.CertPath())
	case "windows":
		return nil, fmt.Errorf("trust %[1]s: by hand on this system; run as administrator: certutil -addstore Root %[1]s", a.CertPath())
	default:
		return nil, fmt.Errorf("trust %s: by hand on this system; add that file to its trusted roots", a.CertPath())
	}
	for _, s := range stores {
		dir := filepath.Join(root, s.dir)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		if _, err := lookPath(s.trust[0]); err != nil {
			// An ordinary user's PATH may lack it, root's will not.
			if _, err := os.Stat(filepath.Join(root, "/usr/sbin", s.trust[0])); err != nil {
				continue
			}
		}
		return &TrustPlan{
			// The fingerprint keeps users of one machine, and a user's
			// authorities over time, apart.
			File:    filepath.Join(dir, "understudy-"+a.Fingerprint()[:16]+s.ext),
			Trust:   s.trust,
			Untrust: s.untrust,
			content: encodeCert(a.cert),
		}, nil
	}
	return nil, fmt.Errorf("trust %s: no known store of anchors on this system (hint: install ca-certificates, or point the program at that file, as with SSL_CERT_FILE)", a.CertPath())
}

// Install writes the anchor and runs the command. It removes the anchor again
// if the command fails.
func (p *TrustPlan) Install(ctx context.Context) error {
	if err := writeAtomic(p.File, p.content, 0o644, os.Rename); err != nil {
		return p.explain("trust", err)
	}
	if err := run(ctx, p.Trust); err != nil {
		return p.explain("trust", errors.Join(err, os.Remove(p.File)))
	}
	return nil
}

// Remove removes the anchor and runs the command; an anchor that is not there
// is no error, and the command runs all the same.
func (p *TrustPlan) Remove(ctx context.Context) error {
	if err := os.Remove(p.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p.explain("untrust", err)
	}
	if err := run(ctx, p.Untrust); err != nil {
		return p.explain("untrust", err)
	}
	return nil
}

func (p *TrustPlan) explain(what string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s the certificate authority: %w (it needs root: run understudy ca %s with sudo --preserve-env=HOME)", what, err, what)
	}
	return fmt.Errorf("%s the certificate authority: %w", what, err)
}

func run(ctx context.Context, argv []string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
