package ca

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

const (
	leafLife = 7 * 24 * time.Hour
	// A leaf is minted anew when less than this is left of it, so that no
	// client meets one that expires under its hands.
	leafMargin = 24 * time.Hour
)

// HostError says why no certificate can be made for a host.
type HostError struct {
	Host   string
	Reason string
}

// Error gives the host and what is wrong with it.
func (e *HostError) Error() string {
	return fmt.Sprintf("mint certificate for %q: %s", e.Host, e.Reason)
}

// Leaf returns a certificate for host: a DNS name in its ASCII form or an IP
// address, without case; a port is ignored. It is cached and shared and must not
// be changed; callers that come at once for one host share one minting. The
// errors are *HostError where host is no such name.
func (a *Authority) Leaf(host string) (*tls.Certificate, error) {
	name, err := hostName(host)
	if err != nil {
		return nil, err
	}
	now := a.now()
	return a.leaves.get(name, now, func() (*tls.Certificate, error) { return a.mint(name, now) })
}

func (a *Authority) mint(name string, now time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{"understudy"}},
		NotBefore:   now.Add(-skew),
		NotAfter:    now.Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(name) <= 64 { // a common name's limit (RFC 5280, A.1)
		template.Subject.CommonName = name
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	if template.NotBefore.Before(a.cert.NotBefore) {
		template.NotBefore = a.cert.NotBefore
	}
	if !now.Before(template.NotAfter) {
		return nil, checkValid(a.cert, a.CertPath(), now.Add(time.Nanosecond))
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		template.IPAddresses = []net.IP{ip.AsSlice()}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.leafKey.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("mint certificate for %q: %w", name, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("mint certificate for %q: %w", name, err)
	}
	// The authority itself is not sent: a client that trusts it has it.
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leafKey, Leaf: leaf}, nil
}

// hostName brings a host, or host:port, into the form that certificates carry.
func hostName(host string) (string, error) {
	refuse := func(reason string) (string, error) { return "", &HostError{host, reason} }
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	} else if len(name) > 1 && name[0] == '[' && name[len(name)-1] == ']' {
		name = name[1 : len(name)-1]
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		if ip.Zone() != "" {
			return refuse("a certificate cannot name an address with a zone")
		}
		return ip.Unmap().String(), nil
	}
	name = strings.TrimSuffix(name, ".")
	switch {
	case name == "":
		return refuse("no host name")
	case len(name) > 253:
		return refuse("longer than 253 characters")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" {
			return refuse("an empty label")
		}
		if len(label) > 63 {
			return refuse("a label longer than 63 characters")
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return refuse("a label that begins or ends with a hyphen")
		}
	}
	lower := []byte(name)
	for i, c := range lower {
		switch {
		case 'A' <= c && c <= 'Z':
			lower[i] = c + 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.':
		case c == '_': // no host name by the book, but service names have it
		case c >= 0x80:
			return refuse("not ASCII; an international name goes over the wire as xn--…")
		default:
			return refuse(fmt.Sprintf("the character %q", rune(c)))
		}
	}
	return string(lower), nil
}
