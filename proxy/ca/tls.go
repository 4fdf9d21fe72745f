package ca

import (
	"crypto/tls"
)

// TLSConfig returns a configuration that serves any host by the name that the
// client asks for, and fallback (a CONNECT's authority; a port is ignored) to a
// client that names none; without either the handshake is refused. It offers
// protos, or all of HTTP but HTTP/3 where none are given: curl -0 asks for http/1.0.
//
// All configurations of an Authority, and clones of them, share their session
// ticket keys, which rotate by themselves: a client resumes whichever of them it
// meets. The caller may keep one or ask anew for each connection.
func (a *Authority) TLSConfig(fallback string, protos ...string) *tls.Config {
	if len(protos) == 0 {
		protos = []string{"h2", "http/1.1", "http/1.0"}
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protos,
		Time:       a.now,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			host := hello.ServerName
			if host == "" {
				host = fallback
			}
			return a.Leaf(host)
		},
		// A configuration's own ticket keys would not outlive it.
		WrapSession:   a.tickets.EncryptTicket,
		UnwrapSession: a.tickets.DecryptTicket,
	}
}
