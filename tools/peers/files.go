package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"time"
)

const (
	smallSize = 1 << 10
	largeSize = 1 << 20
	askDelay  = 10 * time.Millisecond
	// longDelay is what very many wait for at once: with askDelay they would be a
	// million requests a second.
	longDelay = 5 * time.Second
	manyConns = 10_000
	// thinking is how long each of them pauses at most before it asks again, so
	// that they do not come in one wave for ever.
	thinking = 2500 * time.Millisecond
)

// smallBody is 1 KiB of JSON without quotes or characters that a
// configuration of the peers would have to escape in another way.
func smallBody() string {
	const head, tail = `{"id":17,"note":"`, `"}`
	return head + strings.Repeat("x", smallSize-len(head)-len(tail)) + tail
}

// writeFiles makes the bodies and the certificate.
func (b *bench) writeFiles() error {
	if err := os.Mkdir(b.path("www"), 0o755); err != nil {
		return err
	}
	// nginx's workers may run as another user.
	if err := os.Chmod(b.dir, 0o711); err != nil {
		return err
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), largeSize/16)
	if err := os.WriteFile(b.path("www/large.bin"), large, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(b.path("www/small.json"), []byte(smallBody()), 0o644); err != nil {
		return err
	}
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	return os.WriteFile(b.path("cert.pem"), cert, 0o600)
}

// selfSigned is an ECDSA P-256 certificate for loopback with its key, in PEM.
func selfSigned() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "peers"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})...), nil
}

// cassette writes n recorded answers, /stub/0 to /stub/n-1 of host.
func (b *bench) cassette(name, host string, n int) (string, error) {
	dir := b.path(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	manifest := fmt.Sprintf("version: 1\ntool: peers\nstate: complete\ncreated: 2026-01-01T00:00:00Z\nended: 2026-01-01T00:01:00Z\ncounts:\n  exchanges: %d\n", n)
	if err := os.WriteFile(dir+"/cassette.yaml", []byte(manifest), 0o600); err != nil {
		return "", err
	}
	body, _ := json.Marshal(smallBody())
	var lines bytes.Buffer
	for i := range n {
		fmt.Fprintf(&lines, `{"id":%d,"conn":1,"client":"127.0.0.1","at":"2026-01-01T00:00:00Z",`+
			`"request":{"proto":"HTTP/1.1","method":"GET","scheme":"http","host":%q,"target":"/stub/%d","header":["Host: %s"]},`+
			`"response":{"proto":"HTTP/1.1","status":200,"reason":"OK","header":["Content-Type: application/json","Content-Length: %d"],"body":%s,"frames":[[1000000,%d]]},`+
			`"times":{"upstream_sent_ns":200000,"first_byte_ns":900000,"end_ns":1000000,"in_flight":1,"in_flight_upstream":1}}`+"\n",
			i+1, host, i, host, smallSize, body, smallSize)
	}
	return dir, os.WriteFile(dir+"/exchanges.ndjson", lines.Bytes(), 0o600)
}

// write puts a configuration into the run's directory and returns its path.
func (b *bench) write(name, text string) (string, error) {
	b.serial++
	path := b.path(fmt.Sprintf("%03d-%s", b.serial, name))
	return path, os.WriteFile(path, []byte(text), 0o644)
}
