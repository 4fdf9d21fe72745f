package http1

import (
	"net/netip"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures"
)

// Byte classes.
const (
	isToken  = 1 << iota // RFC 9110, 5.6.2
	isText               // RFC 9110, 5.5: field content, HTAB, SP and obs-text
	isTarget             // request target: no white space, no control, no '#'
	isScheme             // RFC 3986, 3.1
	isName               // RFC 3986, 3.2.2: reg-name's unreserved characters. Clients need no others, and nginx refuses some
	isHex
)

var class = func() (t [256]uint8) {
	for c := range 256 {
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if alnum || c < 0x80 && strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0 {
			t[c] |= isToken
		}
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[c] |= isText
		}
		if c > ' ' && c != 0x7f && c != '#' {
			t[c] |= isTarget
		}
		if alnum || c == '+' || c == '-' || c == '.' {
			t[c] |= isScheme
		}
		if alnum || c == '-' || c == '.' || c == '_' || c == '~' {
			t[c] |= isName
		}
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' {
			t[c] |= isHex
		}
	}
	return t
}()

// all reports whether every byte of s is in a class of mask.
func all(s string, mask uint8) bool {
	for i := 0; i < len(s); i++ {
		if class[s[i]]&mask == 0 {
			return false
		}
	}
	return true
}

const ones, tops = 0x0101010101010101, 0x8080808080808080

// eight returns the first eight bytes of s, which has as many.
func eight(s string) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// allText is all(s, isText), eight bytes at a time.
func allText(s string) bool {
	for ; len(s) >= 8; s = s[8:] {
		w := eight(s)
		// The top bit of a byte is set where the byte is below ' ', or is 0x7f, or stands
		// above one that is.
		control, del := (w-' '*ones)&^w, (w^0x7f*ones-ones)&^(w^0x7f*ones)
		if (control|del)&tops != 0 && !all(s[:8], isText) {
			return false
		}
	}
	return all(s, isText)
}

// allToken is all(s, isToken), eight bytes at a time where these are letters and '-', as
// most names are.
func allToken(s string) bool {
	for ; len(s) > 8; s = s[min(8, len(s)-8):] { // the last eight may overlap those before
		if !plain(eight(s)) && !all(s[:8], isToken) {
			return false
		}
	}
	return len(s) == 8 && plain(eight(s)) || all(s, isToken)
}

// plain reports whether eight bytes are letters or '-'.
func plain(w uint64) bool {
	// The top bit of a byte is set where the byte is a letter, or '-'; what carries are
	// bytes from 0x80 on, which are neither.
	lower := w | 0x20*ones
	letter := (lower + (0x80-'a')*ones) &^ (lower + (0x7f-'z')*ones)
	apart := w ^ '-'*ones
	dash := ^((apart&^tops + 0x7f*ones) | apart)
	return (letter|dash)&^w&tops == tops
}

func validToken(s string) bool { return s != "" && allToken(s) }

// trimOWS cuts optional white space (RFC 9110, 5.6.3) off both ends.
func trimOWS(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// fold compares ASCII names without case. Length and first letter decide nearly always;
// what is left is mostly the same to the letter.
func fold(a, b string) bool {
	return len(a) == len(b) && (a == b || len(a) > 0 && a[0]|0x20 == b[0]|0x20 && strings.EqualFold(a, b))
}

// fieldKind is a field name that framing cares about.
type fieldKind uint8

const (
	otherField fieldKind = iota
	hostField
	expectField
	upgradeField
	connectionField
	keepAliveField
	contentLengthField
	proxyConnectionField
	transferEncodingField
)

func kindOf(name string) fieldKind {
	switch len(name) {
	case 4:
		if fold(name, "Host") {
			return hostField
		}
	case 6:
		if fold(name, "Expect") {
			return expectField
		}
	case 7:
		if fold(name, "Upgrade") {
			return upgradeField
		}
	case 10:
		if fold(name, "Connection") {
			return connectionField
		}
		if fold(name, "Keep-Alive") {
			return keepAliveField
		}
	case 14:
		if fold(name, "Content-Length") {
			return contentLengthField
		}
	case 16:
		if fold(name, "Proxy-Connection") {
			return proxyConnectionField
		}
	case 17:
		if fold(name, "Transfer-Encoding") {
			return transferEncodingField
		}
	}
	return otherField
}

// hasToken reports whether a comma-separated list holds token, without case.
func hasToken(list, token string) bool {
	if len(list) < len(token) {
		return false
	}
	for part := range strings.SplitSeq(list, ",") {
		if fold(trimOWS(part), token) {
			return true
		}
	}
	return false
}

// parseLength reads a Content-Length: digits only, below 2^63.
func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 19 {
		return 0, false
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + uint64(d) // at most 19 digits: no overflow of 64 bits
	}
	return int64(n), n < 1<<63
}

// validAuthority reports whether s is host or host:port, without user
// information and without an empty label amid the host. needPort asks for a port from 1 to 65535.
func validAuthority(s string, needPort bool) bool {
	host, port := s, ""
	switch {
	case strings.HasPrefix(s, "["):
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return false
		}
		a, err := netip.ParseAddr(s[1:end])
		if err != nil || !a.Is6() || a.Zone() != "" {
			return false
		}
		port = s[end+1:]
	default:
		if i := strings.IndexByte(s, ':'); i >= 0 {
			host, port = s[:i], s[i:]
		}
		if host == "" || !all(host, isName) || strings.Contains(host, "..") {
			return false
		}
	}
	if port == "" {
		return !needPort
	}
	n, ok := parseLength(port[1:])
	switch {
	case port[0] != ':':
		return false
	case port == ":": // RFC 3986, 3.2.3 allows it
		return !needPort
	}
	return ok && n <= 65535 && (n > 0 || !needPort)
}

// validEscapes reports whether each '%' in a path begins two hex digits.
func validEscapes(path string) bool {
	for {
		i := strings.IndexByte(path, '%')
		if i < 0 {
			return true
		}
		if i+2 >= len(path) || !all(path[i+1:i+3], isHex) {
			return false
		}
		path = path[i+3:]
	}
}

// cutLine takes the first line off a head whose lines were checked to end
// with CRLF.
func cutLine(head string) (line, rest string) {
	i := strings.IndexByte(head, '\n')
	return head[:i-1], head[i+1:]
}

// cutField splits a field line; reason is "" when it is sound.
func cutField(line string) (f fixtures.Field, reason string) {
	i := strings.IndexByte(line, ':')
	if i < 0 {
		return f, "field line without a colon"
	}
	f.Name = line[:i]
	if !validToken(f.Name) {
		if t := trimOWS(f.Name); t != f.Name && validToken(t) {
			if line[0] == ' ' || line[0] == '\t' {
				return f, "folded field line"
			}
			return f, "white space before the colon of a field"
		}
		return f, "invalid character in a field name"
	}
	f.Value = trimOWS(line[i+1:])
	if !allText(f.Value) {
		return f, "control character in field " + f.Name
	}
	return f, ""
}
