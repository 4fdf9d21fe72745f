package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures"
)

// tunnelTo serves what comes through a CONNECT to host, host:port.
func (s *session) tunnelTo(ctx context.Context, nc net.Conn, host string) {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), "443")
	}
	s.end = ConnEnd{Host: host}
	refusal := s.refuses(host)
	if refusal == fixtures.RefuseConnection {
		s.refused(host, protoNothing)
		noTunnel(nc, problem(http.StatusBadGateway, "refused by a rule", "rule "+s.rule+" refuses connections to "+host, nil))
		return
	}
	// What is passed on unread needs no look at what it is: whoever speaks first
	// is heard at once, and a dead destination is told before the tunnel stands.
	if refusal == fixtures.RefuseNone && s.Pass != nil && s.Pass(hostname(host)) {
		up, err := s.dial(ctx, host)
		if err != nil {
			s.undialled(host, protoNothing, err)
			noTunnel(nc, problem(http.StatusBadGateway, "upstream "+host+" did not answer", err.Error(), nil))
			return
		}
		if !established(nc) {
			_ = up.Close()
			return
		}
		s.carry(ctx, nc, up, host, protoNothing)
		return
	}
	if !established(nc) {
		return
	}
	s.conn.Host = host
	s.speak(ctx, nc, s.patience())
	if s.end.Host == "" {
		s.end.Host = host
	}
}

// established tells the client that its tunnel stands; where it is gone, nc is closed.
func established(nc net.Conn) bool {
	if _, err := io.WriteString(nc, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = nc.Close()
		return false
	}
	return true
}

// noTunnel answers a CONNECT with why there is no tunnel, and closes.
func noTunnel(nc net.Conn, f *fixtures.Fault) {
	defer nc.Close()
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", f.Status, http.StatusText(f.Status))
	for _, h := range f.Header {
		b.WriteString(h.Name + ": " + h.Value + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\nConnection: close\r\n\r\n%s", len(f.Body), f.Body)
	if _, err := io.WriteString(nc, b.String()); err != nil {
		return
	}
	if closeWrite(nc) == nil {
		drain(nc)
	}
}
