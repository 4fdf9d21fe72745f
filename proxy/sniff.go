package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// protocol is what a connection's first bytes look like.
type protocol string

const (
	protoNothing protocol = "" // closed before a byte
	protoHTTP1   protocol = "HTTP/1.1"
	protoHTTP2   protocol = "HTTP/2.0"
	protoTLS     protocol = "tls"
	protoRaw     protocol = "raw"
)

// preface is the start of an HTTP/2 connection (RFC 9113, 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// peekConn is a connection some of whose bytes were read ahead: Read gives
// those first.
type peekConn struct {
	net.Conn
	ahead []byte
}

// Read returns the bytes read ahead, then the connection's own.
func (c *peekConn) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		if len(c.ahead) == 0 {
			c.ahead = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// NetConn returns the connection below, for socket options.
func (c *peekConn) NetConn() net.Conn { return c.Conn }

// Ahead returns how many bytes were read ahead and are still to be read.
func (c *peekConn) Ahead() int { return len(c.ahead) }

// Plain returns the connection below, for writing.
func (c *peekConn) Plain() net.Conn { return c.Conn }

// CloseWrite half-closes where the connection below can, and closes it otherwise.
func (c *peekConn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Conn.Close()
}

// more reads once from the connection and keeps the bytes.
func (c *peekConn) more() error {
	buf := make([]byte, 2048)
	n, err := c.Conn.Read(buf)
	c.ahead = append(c.ahead, buf[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// sniff reads ahead as little as tells the protocol. A client that says
// nothing within patience is waiting for the server to speak: raw. It returns
// when ctx ends, too.
func sniff(ctx context.Context, nc net.Conn, patience time.Duration) (*peekConn, protocol, error) {
	c := &peekConn{Conn: nc}
	if patience > 0 {
		if err := nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return c, protoNothing, err
		}
	}
	// A shutdown must not wait for a client that never speaks.
	stop := context.AfterFunc(ctx, func() { _ = nc.SetReadDeadline(time.Unix(1, 0)) })
	p, err := c.guess()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && patience > 0 && ctx.Err() == nil {
		p, err = protoRaw, nil
	}
	if err == nil {
		err = nc.SetReadDeadline(time.Time{})
	}
	return c, p, err
}

func (c *peekConn) guess() (protocol, error) {
	for {
		if p, sure := guess(c.ahead); sure {
			return p, nil
		}
		if err := c.more(); err != nil {
			if errors.Is(err, io.EOF) && len(c.ahead) > 0 {
				return protoRaw, nil
			}
			return protoNothing, err
		}
	}
}

// guess names the protocol that b begins, and whether that is certain.
func guess(b []byte) (protocol, bool) {
	switch {
	case len(b) == 0:
		return protoNothing, false
	case b[0] == 0x16: // TLS handshake record (RFC 8446, 5.1)
		return protoTLS, true
	case bytes.HasPrefix([]byte(preface), b):
		return protoHTTP2, len(b) == len(preface)
	case bytes.HasPrefix(b, []byte(preface)):
		return protoHTTP2, true
	}
	// An empty line may precede a request line (RFC 9112, 2.2).
	b = bytes.TrimLeft(b, "\r\n")
	for i, ch := range b {
		switch {
		case ch == ' ' && i > 0:
			return protoHTTP1, true
		case !isToken(ch) || i >= 32:
			return protoRaw, true
		}
	}
	return protoHTTP1, false
}

// isToken reports whether ch may stand in a method (RFC 9110, 5.6.2).
func isToken(ch byte) bool {
	return ch >= '0' && ch <= '9' || ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' ||
		bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), ch) >= 0
}

// errSniffed ends the look at a ClientHello.
var errSniffed = errors.New("sniffed")

// offer is what a TLS ClientHello says.
type offer struct {
	serverName string
	protocols  []string // ALPN (RFC 7301); empty for none
}

// other is the first protocol of a client that speaks none of HTTP's; else "".
func (h *offer) other() string {
	for _, p := range h.protocols {
		if p == "h2" || strings.HasPrefix(p, "http/") {
			return ""
		}
	}
	if len(h.protocols) == 0 {
		return ""
	}
	return h.protocols[0]
}

// clientHello reads ahead a TLS ClientHello and returns what it says. The bytes
// are kept for whoever handshakes in earnest.
func clientHello(ctx context.Context, c *peekConn, patience time.Duration) (said offer, err error) {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return said, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	look := &helloConn{peekConn: c}
	found := false
	// The standard library parses it; nothing is written to the client.
	err = tls.Server(look, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		said, found = offer{h.ServerName, h.SupportedProtos}, true
		return nil, errSniffed
	}}).HandshakeContext(context.Background())
	if found {
		err = nil
	}
	if !stop() {
		err = ctx.Err()
	}
	return said, errors.Join(err, c.SetReadDeadline(time.Time{}))
}

// helloConn reads through a peekConn without consuming, and swallows writes.
type helloConn struct {
	*peekConn
	at int
}

func (c *helloConn) Read(p []byte) (int, error) {
	for c.at >= len(c.ahead) {
		if err := c.more(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.ahead[c.at:])
	c.at += n
	return n, nil
}

func (c *helloConn) Write(p []byte) (int, error) { return len(p), nil }
