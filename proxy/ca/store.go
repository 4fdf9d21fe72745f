package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"time"
)

const (
	authorityLife = 2 * 365 * 24 * time.Hour
	// skew backdates certificates, so that a client whose clock is behind
	// (a container, a phone, a virtual machine just woken) accepts them.
	skew = 24 * time.Hour
)

// create makes an authority and puts it at path, unless another process was
// there first, whose authority then stands.
func create(path string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make certificate authority: %w", err)
	}
	// A subject of its own keeps a client that still trusts a former authority
	// of this user from trying that one's key.
	var unique [8]byte
	rand.Read(unique[:])
	template := &x509.Certificate{
		Subject: pkix.Name{
			CommonName:   "understudy CA (" + owner() + ")",
			Organization: []string{"understudy"},
			SerialNumber: hex.EncodeToString(unique[:]),
		},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // leaves only
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("make certificate authority: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("make certificate authority: %w", err)
	}
	var data bytes.Buffer
	_ = pem.Encode(&data, &pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	_ = pem.Encode(&data, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	// Link fails where path exists, rename would replace it: of several
	// processes one wins, and none reads half a file.
	link := func(from, to string) error {
		if err := os.Link(from, to); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return os.Remove(from)
	}
	return writeAtomic(path, data.Bytes(), 0o600, link)
}

// owner is user@host, as far as they are known, within a common name's limit.
func owner() string {
	name, host := "user", "localhost"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil && h != "" {
		host = h
	}
	// A common name has at most 64 characters (RFC 5280, A.1).
	who := []rune(name + "@" + host)
	return string(who[:min(len(who), 64-len("understudy CA ()"))])
}

// writeAtomic writes data to a file beside path, syncs it, and has place bring it there.
func writeAtomic(path string, data []byte, mode fs.FileMode, place func(from, to string) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(mode); err != nil && runtime.GOOS != "windows" {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return place(f.Name(), path)
}

// readSecret reads key and certificate and makes sure that they are a pair.
// Its error is fs.ErrNotExist where there is no such file.
func readSecret(path string) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open certificate authority: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, nil, fmt.Errorf("open certificate authority: others may read the key %s (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open certificate authority: %w", err)
	}
	bad := func(what string) (*ecdsa.PrivateKey, *x509.Certificate, error) {
		return nil, nil, fmt.Errorf("open certificate authority: %s: %s; remove %s and %s to have a new authority made", path, what, path, publicName)
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return bad("want a PRIVATE KEY first")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return bad(err.Error())
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return bad(fmt.Sprintf("want an ECDSA key, got %T", parsed))
	}
	certs, err := parseCerts(rest)
	switch {
	case err != nil:
		return bad(err.Error())
	case len(certs) != 1:
		return bad(fmt.Sprintf("want one CERTIFICATE after the key, got %d", len(certs)))
	case !certs[0].IsCA:
		return bad("the certificate is not an authority's")
	case !key.PublicKey.Equal(certs[0].PublicKey):
		return bad("the certificate belongs to another key")
	}
	return key, certs[0], nil
}

func parseCerts(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return certs, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("want CERTIFICATE, got %s", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
}

func encodeCert(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}
