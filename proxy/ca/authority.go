package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

const (
	secretName = "ca-key.pem" // private key and certificate
	publicName = "ca.pem"     // the certificate alone
)

// Authority is a certificate authority and the leaves it has minted. Its
// methods may be called from many goroutines. It holds nothing to close.
type Authority struct {
	dir     string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	leafKey *ecdsa.PrivateKey
	leaves  *cache
	tickets *tls.Config // never serves: its ticket keys are everyone's
	now     func() time.Time
}

// DefaultDir is where the user's authority lives: understudy below the user's
// configuration directory. It errors where the environment names no home.
func DefaultDir() (string, error) {
	base, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the directory of the certificate authority: %w (set HOME or XDG_CONFIG_HOME)", err)
	}
	return filepath.Join(base, "understudy"), nil
}

// Load opens the authority in dir, and makes dir and authority at first use.
// Processes that start at once agree on one authority. The errors name the file
// and the remedy: unreadable, readable by others, torn, not a pair, expired.
func Load(dir string) (*Authority, error) { return load(dir, time.Now) }

func load(dir string, now func() time.Time) (*Authority, error) {
	if err := prepareDir(dir); err != nil {
		return nil, err
	}
	secret := filepath.Join(dir, secretName)
	key, cert, err := readSecret(secret)
	if errors.Is(err, fs.ErrNotExist) {
		// A public file without its secret is somebody's authority that lost
		// its key: replacing it silently would break whoever trusts it.
		// The secret comes first, so look again: another process may have made
		// both just now.
		public := filepath.Join(dir, publicName)
		_, lost := os.Lstat(public)
		if _, err := os.Lstat(secret); lost == nil && errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open certificate authority: %s is there but its key %s is missing; restore the key, or remove %s to have a new authority made", public, secret, public)
		}
		if err := create(secret, now()); err != nil {
			return nil, err
		}
		key, cert, err = readSecret(secret)
	}
	if err != nil {
		return nil, err
	}
	if err := checkValid(cert, secret, now()); err != nil {
		return nil, err
	}
	if err := syncPublic(filepath.Join(dir, publicName), secret, cert); err != nil {
		return nil, err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make leaf key: %w", err)
	}
	return &Authority{
		dir: dir, cert: cert, key: key, leafKey: leafKey,
		leaves: newCache(maxLeaves), tickets: &tls.Config{Time: now}, now: now,
	}, nil
}

// prepareDir makes dir for the user alone, and refuses one that others may
// write to: they could swap the authority.
func prepareDir(dir string) error {
	if dir == "" {
		return errors.New("open certificate authority: no directory given")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory of the certificate authority: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("open certificate authority: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("open certificate authority: others may write to %s (mode %04o); run: chmod go-w %s", dir, info.Mode().Perm(), dir)
	}
	return nil
}

func checkValid(cert *x509.Certificate, file string, now time.Time) error {
	const day = "2006-01-02 15:04 MST"
	switch {
	case now.After(cert.NotAfter):
		return fmt.Errorf("open certificate authority: %s expired at %s; remove %s and %s to have a new one made, and trust that one again",
			file, cert.NotAfter.Format(day), file, publicName)
	case now.Before(cert.NotBefore):
		return fmt.Errorf("open certificate authority: %s is valid from %s only, and this machine's clock says %s; set the clock",
			file, cert.NotBefore.Format(day), now.UTC().Format(day))
	}
	return nil
}

// syncPublic writes the public copy where it is missing, and refuses one that
// belongs to another authority.
func syncPublic(public, secret string, cert *x509.Certificate) error {
	data, err := os.ReadFile(public)
	if errors.Is(err, fs.ErrNotExist) {
		// Every process would write the same bytes, so the last may win.
		return writeAtomic(public, encodeCert(cert), 0o644, os.Rename)
	}
	if err != nil {
		return fmt.Errorf("open certificate authority: %w", err)
	}
	certs, err := parseCerts(data)
	if err != nil || len(certs) != 1 || !bytes.Equal(certs[0].Raw, cert.Raw) {
		return fmt.Errorf("open certificate authority: %s is not the certificate in %s; remove %s to have it written again", public, secret, public)
	}
	return nil
}

// CertPath is the file with the authority's certificate in PEM, for clients
// that are to trust it. It holds no secret.
func (a *Authority) CertPath() string { return filepath.Join(a.dir, publicName) }

// Certificate is the authority's certificate. It must not be changed.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Fingerprint is the SHA-256 of the authority's certificate in lower-case hex.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.cert.Raw)
	return hex.EncodeToString(sum[:])
}
