package proxy

import (
	"net"
	"net/url"

	"go.uber.org/zap"
)

// enter and leave keep the list of doors that serve.
func (s *Server) enter(d *site) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doors == nil {
		s.doors = map[*site]struct{}{}
	}
	s.doors[d] = struct{}{}
}

func (s *Server) leave(d *site) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.doors, d)
}

// leadsToItself reports whether the way from d, through other doors of this
// server, comes back to d: what it carries would go round for ever. It knows
// doors by their addresses, not by names that only a look-up tells.
func (d *site) leadsToItself() bool {
	if d.raw == "" && d.to == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d
	for range d.doors { // no way is longer
		next := at.raw
		if at.to != nil {
			next = withPort(at.to)
		}
		switch at = d.doorAt(next); at {
		case nil:
			return false
		case d:
			return true
		}
	}
	return false
}

// doorAt returns the door that listens on addr, host:port; nil for none. mu is held.
func (s *Server) doorAt(addr string) *site {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil
	}
	ip := net.ParseIP(host)
	if host == "localhost" {
		ip = net.IPv4(127, 0, 0, 1)
	}
	for d := range s.doors {
		at, atPort, err := net.SplitHostPort(d.addr.String())
		if err != nil || atPort != port || ip == nil {
			continue
		}
		own := net.ParseIP(at)
		here := own.IsUnspecified() || own.IsLoopback() && host == "localhost"
		if own.Equal(ip) || here && (ip.IsLoopback() || ip.IsUnspecified()) {
			return d
		}
	}
	return nil
}

// withPort is u's host with its port, the scheme's own where it names none.
func withPort(u *url.URL) string { return authority(u.Scheme, u.Host) }

// authority is host:port, with the scheme's port where host names none.
func authority(scheme, host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	port := "80"
	if scheme == "https" {
		port = "443"
	}
	if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	return net.JoinHostPort(host, port)
}

// dropLoop tells of a door that leads to itself.
func (s *session) dropLoop() {
	s.drop("the door leads to itself")
	s.log.Error("the door leads to itself", zap.String("door", s.name),
		zap.String("hint", "its upstream is one of this process's own listeners"))
}
