package config

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// ListenKind is a front door's kind.
type ListenKind string

const (
	ListenForward     ListenKind = "forward"
	ListenReverse     ListenKind = "reverse"
	ListenTCP         ListenKind = "tcp"
	ListenTransparent ListenKind = "transparent"
)

var listenKinds = []string{string(ListenForward), string(ListenReverse), string(ListenTCP), string(ListenTransparent)}

// Listener is a front door.
type Listener struct {
	Kind ListenKind
	Addr string // host:port, never without a host; port 0 picks a free one
	To   string // reverse: a URL of scheme and authority; tcp: host:port; else ""
}

// String is the listener as on the command line: "reverse 127.0.0.1:9001=http://127.0.0.1:7001".
func (l Listener) String() string {
	if l.To == "" {
		return string(l.Kind) + " " + l.Addr
	}
	return string(l.Kind) + " " + l.Addr + "=" + l.To
}

// parseListen reads the value of the flag that is called after kind: ADDR for
// forward and transparent, ADDR=URL for reverse, ADDR=HOST:PORT for tcp.
// For ADDR see parseAddr.
func parseListen(kind ListenKind, s string) (Listener, *problem) {
	addr, to, pair := strings.Cut(s, "=")
	switch kind {
	case ListenForward, ListenTransparent:
		if pair {
			return Listener{}, &problem{want: "ADDR", hint: "--" + string(kind) + " has no upstream of its own; --reverse ADDR=URL has"}
		}
	case ListenReverse:
		if !pair {
			return Listener{}, &problem{want: "ADDR=URL", hint: "such as --reverse :9001=http://127.0.0.1:7001"}
		}
	case ListenTCP:
		if !pair {
			return Listener{}, &problem{want: "ADDR=HOST:PORT", hint: "such as --tcp :9002=127.0.0.1:6379"}
		}
	default:
		return Listener{}, &problem{want: "a listener of kind " + oneOf(listenKinds)}
	}
	return newListener(kind, addr, to)
}

// newListener checks both halves. To is "" for the kinds that have none.
func newListener(kind ListenKind, addr, to string) (Listener, *problem) {
	l := Listener{Kind: kind}
	var p *problem
	if l.Addr, p = parseAddr(addr); p != nil {
		return Listener{}, p
	}
	switch kind {
	case ListenReverse:
		l.To, p = parseUpstreamURL(to)
	case ListenTCP:
		l.To, p = parseHostPort(to)
	}
	if p != nil {
		return Listener{}, p
	}
	return l, nil
}

// parseAddr reads an address to listen on and returns it as host:port. A bare
// port ("8080" or ":8080") is the loopback's, 127.0.0.1: to listen on every
// interface, say 0.0.0.0 or [::].
func parseAddr(s string) (string, *problem) {
	p := &problem{want: `an address such as "127.0.0.1:8080" or ":8080"`}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if !isPort(s) {
			if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil || isHostName(s) {
				p.hint = "give the port, 0 for a free one"
			}
			return "", p
		}
		host, port = "", s
	}
	switch {
	case host == "*":
		p.hint = "to listen on every interface, say 0.0.0.0 or [::]"
		return "", p
	case !isPort(port):
		p.hint = "the port is a number from 0 to 65535"
		return "", p
	case host == "":
		host = "127.0.0.1"
	case !isHost(host):
		return "", p
	}
	return net.JoinHostPort(host, port), nil
}

// parseHostPort reads host:port of someone to dial.
func parseHostPort(s string) (string, *problem) {
	host, port, err := net.SplitHostPort(s)
	if err != nil || !isHost(host) || !isPort(port) || port == "0" {
		return "", &problem{want: `HOST:PORT such as "127.0.0.1:6379"`}
	}
	return net.JoinHostPort(host, port), nil
}

func parseUpstreamURL(s string) (string, *problem) {
	p := &problem{want: `a URL such as "http://127.0.0.1:7001"`}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		if !strings.Contains(s, "://") {
			p.hint = "begin with http:// or https://"
		}
		return "", p
	}
	if !isHost(u.Hostname()) || u.Port() != "" && (!isPort(u.Port()) || u.Port() == "0") || strings.HasSuffix(u.Host, ":") {
		return "", p
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		p.hint = "only scheme, host and port: the request brings its own path"
		return "", p
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return isHostName(s)
}

func isPort(s string) bool {
	if s == "" || len(s) > 5 || strings.Trim(s, "0123456789") != "" {
		return false
	}
	n, err := strconv.Atoi(s)
	return err == nil && n <= 65535
}
