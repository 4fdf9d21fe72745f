package http1

import (
	"strings"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// requestInfo is what a request's head says about the connection.
type requestInfo struct {
	body    framing
	old     bool // HTTP/1.0
	close   bool // the client will send nothing more
	keep    bool // an HTTP/1.0 client asked for a persistent connection
	expect  bool // it waits for 100 (Continue)
	connect bool
	upgrade bool // it has an Upgrade field
	head    bool
}

// usualFields is room for the fields of most heads.
const usualFields = 12

// parseRequest reads a request's head, as readHead returns it, into r, whose
// Header gives the array. What it returns as error is *BadRequestError.
func parseRequest(head string, lines int, r *wire.Request) (requestInfo, error) {
	var in requestInfo
	if lines == 0 {
		return in, bad("empty request line")
	}
	line, head := cutLine(head)
	if err := parseRequestLine(line, r, &in); err != nil {
		return in, err
	}
	if lines-1 > cap(r.Header) {
		r.Header = make(fixtures.Header, 0, max(lines-1, usualFields))
	}
	var fr fieldFraming
	hosts, host := 0, ""
	interim := false // the one expectation there is
	for head != "" {
		line, head = cutLine(head)
		f, reason := cutField(line)
		if reason != "" {
			return in, bad("%s", reason)
		}
		r.Header = append(r.Header, f)
		switch kindOf(f.Name) {
		case hostField:
			hosts++
			host = f.Value
		case contentLengthField:
			fr.addLength(f.Value, false)
		case transferEncodingField:
			fr.addCoding(f.Value)
		case connectionField:
			in.close = in.close || hasToken(f.Value, "close")
			in.keep = in.keep || hasToken(f.Value, "keep-alive")
		case proxyConnectionField:
			// Old clients of forward proxies say it this way.
			in.keep = in.keep || hasToken(f.Value, "keep-alive")
		case expectField:
			if in.expect {
				return in, bad("more than one Expect field")
			}
			in.expect, interim = true, fold(f.Value, "100-continue")
		case upgradeField:
			in.upgrade = true
		case otherField:
			if fold(f.Name, "Trailer") && announcesFraming(f.Value) {
				return in, bad("Trailer announces a field that is not allowed there")
			}
		}
	}
	switch {
	case hosts > 1:
		return in, bad("more than one Host field")
	case hosts == 0 && !in.old && !in.connect:
		// A CONNECT brings its authority as target; many tunnels send no more.
		return in, bad("no Host field")
	case host != "" && !validAuthority(host, false), hosts > 0 && host == "" && r.Absolute:
		return in, bad("malformed Host field")
	}
	if r.Host == "" {
		r.Host = host
	}
	if in.old {
		in.close = in.close || !in.keep
		in.expect = false // RFC 9110, 10.1.1
	}
	if err := fr.request(r, &in); err != nil {
		return in, err
	}
	in.expect = in.expect && interim && in.body != noBody
	return in, nil
}

// parseRequestLine fills method, version, and the target's parts.
func parseRequestLine(line string, r *wire.Request, in *requestInfo) error {
	method, rest, ok1 := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || !validToken(method) || target == "" || !all(target, isTarget) {
		return bad("malformed request line")
	}
	switch version {
	case "HTTP/1.1":
		r.Proto = "HTTP/1.1"
	case "HTTP/1.0":
		r.Proto = "HTTP/1.0"
		in.old = true
	default:
		if len(version) == 8 && strings.HasPrefix(version, "HTTP/") && version[6] == '.' &&
			class[version[5]]&isHex != 0 && version[5] <= '9' && class[version[7]]&isHex != 0 && version[7] <= '9' {
			return &BadRequestError{Status: 505, Reason: "HTTP version not supported: " + version}
		}
		return bad("malformed request line")
	}
	if method == "PRI" { // reserved, so that HTTP/2's preface is never taken for a request (RFC 9113, 11.6)
		return bad("malformed request line")
	}
	r.Method = method
	in.head = method == "HEAD"
	in.connect = method == "CONNECT"
	switch {
	case in.connect:
		if !validAuthority(target, true) {
			return bad("malformed target: CONNECT wants host:port")
		}
		r.Host, r.Target = target, target
		return nil
	case target[0] == '/':
		r.Target = target
	case target == "*":
		if method != "OPTIONS" {
			return bad("malformed target: * is for OPTIONS")
		}
		r.Target = target
		return nil
	default:
		if !splitAbsolute(target, r) {
			return bad("malformed target")
		}
	}
	if path, _ := fixtures.SplitTarget(r.Target); !validEscapes(path) {
		return bad("malformed target: invalid escape")
	}
	return nil
}

// splitAbsolute takes an absolute-form target apart. An empty path becomes "/",
// or "*" for OPTIONS without a query (RFC 9112, 3.2.4).
func splitAbsolute(target string, r *wire.Request) bool {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || scheme == "" || scheme[0]|0x20 < 'a' || scheme[0]|0x20 > 'z' || !all(scheme, isScheme) {
		return false
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if !validAuthority(rest[:end], false) {
		return false
	}
	r.Scheme, r.Host, r.Target, r.Absolute = strings.ToLower(scheme), rest[:end], rest[end:], true
	switch {
	case r.Target == "" && r.Method == "OPTIONS":
		r.Target = "*"
	case r.Target == "" || r.Target[0] == '?':
		r.Target = "/" + r.Target
	}
	return true
}

// announcesFraming reports whether a Trailer field lists one that a trailer
// section must not have (RFC 9110, 6.5.1).
func announcesFraming(list string) bool {
	return hasToken(list, "Content-Length") || hasToken(list, "Transfer-Encoding") || hasToken(list, "Host") || hasToken(list, "Trailer")
}

// fieldFraming gathers Content-Length and Transfer-Encoding over a head.
type fieldFraming struct {
	lengths   int
	length    int64
	badLength bool

	codings    int
	chunkedAt  int // which coding was chunked, from 1; 0 for none
	chunkTwice bool
	badCoding  bool
}

// addLength takes one Content-Length. lists allows "5, 5", as some servers'
// intermediaries make it.
func (f *fieldFraming) addLength(value string, lists bool) {
	if lists && strings.IndexByte(value, ',') >= 0 {
		for part := range strings.SplitSeq(value, ",") {
			f.addLength(trimOWS(part), false)
		}
		return
	}
	n, ok := parseLength(value)
	f.badLength = f.badLength || !ok || f.lengths > 0 && n != f.length
	f.length = n
	f.lengths++
}

func (f *fieldFraming) addCoding(value string) {
	for part := range strings.SplitSeq(value, ",") {
		part = trimOWS(part)
		f.codings++
		switch {
		case part == "":
			f.badCoding = true
		case fold(part, "chunked"):
			f.chunkTwice = f.chunkedAt > 0
			f.chunkedAt = f.codings
		}
	}
}

// request decides a request's framing, strictly (RFC 9112, 6.1 and 6.3).
func (f *fieldFraming) request(r *wire.Request, in *requestInfo) error {
	switch {
	case f.codings > 0 && f.lengths > 0:
		return bad("Content-Length and Transfer-Encoding together")
	case f.badLength:
		return bad("malformed or conflicting Content-Length")
	case f.lengths > 1: // RFC 9112, 6.3 allows equal ones. No client needs that, and nginx refuses them
		return bad("more than one Content-Length")
	case f.badCoding:
		return bad("malformed Transfer-Encoding")
	case f.chunkTwice:
		return bad("Transfer-Encoding: chunked more than once")
	case f.codings > 0 && in.old:
		return bad("Transfer-Encoding in an HTTP/1.0 request")
	case f.chunkedAt > 0 && f.chunkedAt != f.codings:
		return bad("Transfer-Encoding: chunked is not last")
	case f.codings > 1 || f.codings == 1 && f.chunkedAt == 0:
		return &BadRequestError{Status: 501, Reason: "transfer coding not supported"}
	case in.connect && (f.codings > 0 || f.length > 0):
		return bad("CONNECT with a body")
	case f.codings == 1:
		in.body = chunked
		r.Length, r.Chunked = -1, true
	case f.length > 0:
		in.body = sized
		r.Length = f.length
	}
	return nil
}
