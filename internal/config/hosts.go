package config

import (
	"net/netip"
	"strings"
)

// parseHostPattern reads a host name, an address, "*.example.com" (every name
// below example.com, at any depth, not itself) or "*" (every host). The result
// is in lower case.
func parseHostPattern(s string) (string, *problem) {
	p := &problem{want: `a host such as "api.example.com", "*.example.com" or "*"`}
	if s == "*" {
		return s, nil
	}
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return ip.String(), nil
	}
	name := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(s, "*."), "."))
	if !isHostName(name) {
		switch {
		case strings.Contains(s, "://"):
			p.hint = "leave the scheme out"
		case strings.Contains(s, ":"):
			p.hint = "leave the port out"
		case strings.Contains(s, "*"):
			p.hint = "a star stands alone or at the start, before a dot"
		}
		return "", p
	}
	if strings.HasPrefix(s, "*.") {
		return "*." + name, nil
	}
	return name, nil
}

// isHostName takes letters, digits, '-', '_' and any non-ASCII letter: what
// resolvers take, rather than what RFC 1123 says.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, r := range label {
			switch {
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r >= 0x80 && r != '\uFFFD':
			default:
				return false
			}
		}
	}
	return true
}

func matchAny(patterns []string, host string) bool {
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	for _, p := range patterns {
		if p == "*" || p == host {
			return true
		}
		if below, ok := strings.CutPrefix(p, "*"); ok && strings.HasSuffix(host, below) && len(host) > len(below) {
			return true
		}
	}
	return false
}
