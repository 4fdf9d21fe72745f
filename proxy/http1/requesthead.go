package http1

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/understudy-proxy/understudy/proxy/wire"
)

// sendPlan is how a request goes out.
type sendPlan struct {
	mode    framing
	length  int64 // for sized
	expect  bool  // the body waits for 100 (Continue)
	upgrade bool  // a 101 may be the answer
}

// appendRequestHead appends a request's head, framing fields in the places
// where the header has them.
func appendRequestHead(b []byte, r *wire.Request) ([]byte, sendPlan, error) {
	var p sendPlan
	switch {
	case r.Chunked || r.Length < 0 && r.Body != nil:
		p.mode = chunked
	case r.Length > 0 && r.Body == nil:
		return nil, p, errors.New("request declares a body and has none")
	case r.Length > 0:
		p.mode, p.length = sized, r.Length
	}
	start := len(b)
	b, err := appendRequestLine(b, r)
	if err != nil {
		return nil, p, err
	}
	lines := 1
	var hasHost, hasUpgrade bool
	for i := range r.Header {
		switch kindOf(r.Header[i].Name) {
		case hostField:
			hasHost = true
		case upgradeField:
			hasUpgrade = true
		case connectionField:
			p.upgrade = p.upgrade || hasToken(r.Header[i].Value, "upgrade")
		}
	}
	p.upgrade = p.upgrade && hasUpgrade && r.Proto != "HTTP/1.0" // RFC 9110, 7.8
	var saidLength, saidCoding, saidHost bool
	if !hasHost {
		b = appendField(b, "Host", r.Host)
		lines++
		saidHost = true
	}
	for i := range r.Header {
		name, value := r.Header[i].Name, r.Header[i].Value
		switch kindOf(name) {
		case hostField:
			if saidHost {
				continue
			}
			if saidHost = true; r.Absolute {
				value = r.Host // RFC 9112, 3.2.2: the target's authority wins
			}
		case contentLengthField:
			if saidLength || p.mode == chunked {
				continue
			}
			saidLength = true
			if n, ok := parseLength(value); !ok || n != p.length {
				value = strconv.FormatInt(p.length, 10)
			}
		case transferEncodingField:
			if saidCoding || p.mode != chunked || !fold(value, "chunked") {
				continue
			}
			saidCoding = true
		case connectionField:
			switch {
			case !p.upgrade || !hasToken(value, "upgrade"):
				continue
			case hasToken(value, "close"):
				value = "Upgrade"
			}
		case upgradeField:
			if !p.upgrade {
				continue
			}
		case keepAliveField, proxyConnectionField:
			continue
		case expectField:
			p.expect = p.expect || p.mode != noBody && fold(value, "100-continue")
		}
		if !validToken(name) {
			return nil, p, fieldError(name)
		}
		b = appendField(b, name, value)
		lines++
	}
	if p.mode == sized && !saidLength {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, p.length, 10)
		b = append(b, "\r\n"...)
		lines++
	}
	if p.mode == chunked && !saidCoding {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		lines++
	}
	if err := checkLines(b[start:], lines); err != nil {
		return nil, p, err
	}
	return append(b, "\r\n"...), p, nil
}

func appendRequestLine(b []byte, r *wire.Request) ([]byte, error) {
	if !validToken(r.Method) {
		return nil, fmt.Errorf("%q is no method", r.Method)
	}
	if r.Target == "" || !all(r.Target, isTarget) {
		return nil, fmt.Errorf("%q is no request target", r.Target)
	}
	b = append(append(b, r.Method...), ' ')
	if r.Absolute {
		if r.Scheme == "" || !all(r.Scheme, isScheme) || !validAuthority(r.Host, false) {
			return nil, fmt.Errorf("%q is no origin", r.Scheme+"://"+r.Host)
		}
		b = append(append(append(b, r.Scheme...), "://"...), r.Host...)
	}
	if !r.Absolute || r.Target != "*" { // OPTIONS * in absolute form has no path
		b = append(b, r.Target...)
	}
	return append(b, " HTTP/1.1\r\n"...), nil
}

// buffering is a body that knows what it can give without waiting: at least
// Buffered bytes. Request bodies of this package's Server do.
type buffering interface{ Buffered() int }

// atHand reports whether a small body can be read before the head is sent. A
// body that cannot tell is trusted to come soon.
func atHand(r io.Reader, length int64) bool {
	if b, ok := r.(buffering); ok {
		return int64(b.Buffered()) >= length
	}
	return true
}
