package http1

import (
	"strings"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

func violation(reason string) *ProtocolError { return &ProtocolError{Reason: reason} }

// responseInfo is what a response's head says about the connection.
type responseInfo struct {
	body framing
	keep bool // it may serve another request after this response
}

// parseResponse reads a response's head, as readHead returns it, into r, whose
// Header gives the array. It
// lets pass what real servers get wrong without harm: a missing reason or the
// space before it, folded fields, a Content-Length beside chunked coding,
// which then does not count. Its errors are *ProtocolError.
func parseResponse(head string, lines int, method string, r *wire.Response) (responseInfo, error) {
	var in responseInfo
	if lines == 0 {
		return in, violation("empty status line")
	}
	line, head := cutLine(head)
	if !parseStatusLine(line, r) {
		return in, violation("malformed status line")
	}
	if lines-1 > cap(r.Header) {
		r.Header = make(fixtures.Header, 0, max(lines-1, usualFields))
	}
	var fr fieldFraming
	closes, keeps := false, false
	for head != "" {
		line, head = cutLine(head)
		for head != "" && (head[0] == ' ' || head[0] == '\t') { // obs-fold
			var more string
			more, head = cutLine(head)
			line += " " + trimOWS(more)
		}
		f, reason := cutField(line)
		if reason != "" {
			return in, violation(reason)
		}
		r.Header = append(r.Header, f)
		switch kindOf(f.Name) {
		case contentLengthField:
			fr.addLength(f.Value, true)
		case transferEncodingField:
			fr.addCoding(f.Value)
		case connectionField:
			closes = closes || hasToken(f.Value, "close")
			keeps = keeps || hasToken(f.Value, "keep-alive")
		}
	}
	old := r.Proto == "HTTP/1.0"
	in.keep = !old && !closes || old && keeps
	return in, fr.response(r, method, old, &in)
}

func parseStatusLine(line string, r *wire.Response) bool {
	// HTTP/1.x nnn[ reason]
	if len(line) < 12 || line[:7] != "HTTP/1." || line[8] != ' ' || !allText(line) {
		return false
	}
	switch c := line[7]; {
	case c == '0':
		r.Proto = "HTTP/1.0"
	case c >= '1' && c <= '9': // RFC 9110, 2.5: a higher minor version reads like 1.1
		r.Proto = "HTTP/1.1"
	default:
		return false
	}
	n, ok := parseLength(line[9:12])
	if !ok || n < 100 || len(line) > 12 && line[12] != ' ' {
		return false
	}
	r.Status = int(n)
	if len(line) > 13 {
		r.Reason = line[13:]
	}
	return true
}

// response decides a response's framing (RFC 9112, 6.3).
func (f *fieldFraming) response(r *wire.Response, method string, old bool, in *responseInfo) error {
	codings := f.codings
	if old {
		codings = 0 // HTTP/1.0 knows none; who sends one anyway is read by length or close
	}
	switch {
	case method == "HEAD" || r.Status/100 == 1 || r.Status == 204 || r.Status == 304,
		method == "CONNECT" && r.Status/100 == 2:
		return nil
	case codings > 0:
		if f.badCoding || codings != 1 || f.chunkedAt != 1 {
			return violation("transfer coding not understood: " + strings.Join(r.Header.Values("Transfer-Encoding"), ", "))
		}
		in.body = chunked
		in.keep = in.keep && f.lengths == 0 // RFC 9112, 6.3: perhaps an attempt at smuggling
		r.Length, r.Chunked = -1, true
	case f.badLength:
		return violation("malformed or conflicting Content-Length")
	case f.lengths > 0:
		in.body = sized
		r.Length = f.length
	default:
		in.body, in.keep = untilClose, false
		r.Length = -1
	}
	return nil
}
