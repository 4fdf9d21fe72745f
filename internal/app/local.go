package app

import (
	"net"
	"net/netip"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/stub"
)

// localPorts are the ports of the loopback for which a replay may have an answer. On all
// others nothing is to seem to listen: a command that waits for its own server, or asks
// ::1 before the 127.0.0.1 on which that listens, must hear what it heard while it was recorded.
type localPorts struct {
	ports map[string]bool
	any   bool // it cannot be told
}

// has reports whether there may be an answer on a port.
func (l *localPorts) has(port string) bool { return l.any || l.ports[port] }

func (l *localPorts) add(port string) {
	if l.ports == nil {
		l.ports = map[string]bool{}
	}
	l.ports[port] = true
}

// addExchange adds what an exchange tells. One that came over the loopback, or from who
// knows where, and names another host without a port may have been on any.
func (l *localPorts) addExchange(x *fixtures.Exchange) {
	host, port := hostPort(x.Request.Scheme, x.Request.Host)
	client, err := netip.ParseAddr(x.Client)
	switch {
	case isLocal(host):
		l.add(port)
	case err == nil && !client.Unmap().IsLoopback():
	case strings.HasSuffix(x.Request.Host, ":"+port):
		l.add(port)
	default:
		l.any = true
	}
}

// addStub adds what a stub can answer: all, where it names no host.
func (l *localPorts) addStub(s *stub.Stub) {
	host := s.Hints().Host
	if host == "" {
		l.any = true
		return
	}
	if _, port, err := net.SplitHostPort(host); err == nil {
		l.add(port)
		return
	}
	l.add("80")
	l.add("443")
}

// isLocal reports whether a host is the loopback by its name.
func isLocal(host string) bool {
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
