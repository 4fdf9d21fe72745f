package http2

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// fieldReader gathers one field section as hpack emits it, and judges it.
// Source: RFC 9113, 8.2 and 8.3.
type fieldReader struct {
	left     int64 // bytes of MAX_HEADER_LIST_SIZE not used yet
	tooLarge bool
	err      error // the first thing wrong
	regular  bool  // a regular field was seen

	method, scheme, authority, path *string
	pseudo                          bool
	header                          fixtures.Header
}

func (r *fieldReader) reset(limit uint32) { *r = fieldReader{left: int64(limit)} }

// add takes the next field. It keeps going behind an error: the rest must be
// decoded all the same.
func (r *fieldReader) add(f hpack.HeaderField) {
	if r.left -= int64(f.Size()); r.left < 0 {
		r.tooLarge = true
	}
	if r.err != nil {
		return
	}
	if strings.HasPrefix(f.Name, ":") {
		r.err = r.addPseudo(f)
		return
	}
	r.regular = true
	if r.tooLarge {
		return
	}
	if r.err = checkField(f.Name, f.Value); r.err == nil {
		r.header = append(r.header, fixtures.Field{Name: f.Name, Value: f.Value})
	}
}

func (r *fieldReader) addPseudo(f hpack.HeaderField) error {
	r.pseudo = true
	if r.regular {
		return fmt.Errorf("pseudo-field %s behind a regular one", f.Name)
	}
	var dst **string
	switch f.Name {
	case ":method":
		dst = &r.method
	case ":scheme":
		dst = &r.scheme
	case ":authority":
		dst = &r.authority
	case ":path":
		dst = &r.path
	default:
		return fmt.Errorf("unknown pseudo-field %q", f.Name)
	}
	if *dst != nil {
		return fmt.Errorf("repeated pseudo-field %s", f.Name)
	}
	if !validValue(f.Value) {
		return fmt.Errorf("bad value of %s", f.Name)
	}
	*dst = &f.Value
	return nil
}

// checkField refuses what RFC 9113, 8.2.1 and 8.2.2 call malformed.
func checkField(name, value string) error {
	if !validName(name) {
		return fmt.Errorf("bad field name %q", name)
	}
	if !validValue(value) {
		return fmt.Errorf("bad value of field %s", name)
	}
	if connectionField(name) {
		return fmt.Errorf("connection-specific field %s", name)
	}
	if name == "te" && !strings.EqualFold(value, "trailers") {
		return errors.New("te with more than trailers")
	}
	return nil
}

// validName reports whether name is a token without upper-case letters.
func validName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c >= 'A' && c <= 'Z' || !httpguts.IsTokenRune(rune(c)) {
			return false
		}
	}
	return name != ""
}

// validValue reports whether v has no NUL, CR or LF, and no white space around it.
func validValue(v string) bool {
	for i := range len(v) {
		if c := v[i]; c == 0 || c == '\r' || c == '\n' {
			return false
		}
	}
	return v == "" || !isBlank(v[0]) && !isBlank(v[len(v)-1])
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// connectionField reports whether a lower-case field name belongs to one
// HTTP/1 connection (RFC 9113, 8.2.2).
func connectionField(name string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return true
	}
	return false
}

// request makes a request of the section.
func (r *fieldReader) request() (*wire.Request, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.method == nil || !httpguts.ValidHeaderFieldName(*r.method) {
		return nil, errors.New("no valid :method")
	}
	req := &wire.Request{Proto: "HTTP/2.0", Method: *r.method, Header: r.header, Length: -1}
	if r.authority != nil {
		req.Host = *r.authority
	}
	if req.Method == "CONNECT" {
		if r.scheme != nil || r.path != nil || req.Host == "" {
			return nil, errors.New("CONNECT wants :authority alone")
		}
		req.Target = req.Host
	} else {
		if r.scheme == nil || *r.scheme == "" {
			return nil, errors.New("no :scheme")
		}
		req.Scheme = strings.ToLower(*r.scheme)
		if r.path == nil || !validPath(req.Method, *r.path) {
			return nil, errors.New("no valid :path")
		}
		req.Target = *r.path
	}
	if err := r.host(req); err != nil {
		return nil, err
	}
	return req, r.length(req)
}

// validPath accepts origin form, and asterisk form for OPTIONS.
func validPath(method, path string) bool {
	if strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return false
	}
	return strings.HasPrefix(path, "/") || path == "*" && method == "OPTIONS"
}

// host settles the authority: :authority, else the Host field; where both are
// there they must agree (RFC 9113, 8.3.1).
func (r *fieldReader) host(req *wire.Request) error {
	hosts := req.Header.Values("host")
	if len(hosts) > 1 {
		return errors.New("repeated host")
	}
	if len(hosts) == 1 {
		if req.Host == "" {
			req.Host = hosts[0]
		} else if !strings.EqualFold(req.Host, hosts[0]) {
			return errors.New("host does not agree with :authority")
		}
	}
	if strings.Contains(req.Host, "@") {
		return errors.New("user information in :authority")
	}
	if !httpguts.ValidHostHeader(req.Host) {
		return errors.New("bad :authority")
	}
	return nil
}

// length reads content-length; repeats must agree.
func (r *fieldReader) length(req *wire.Request) error {
	values := req.Header.Values("content-length")
	if len(values) == 0 {
		return nil
	}
	n, err := strconv.ParseUint(values[0], 10, 63)
	if err != nil || slices.ContainsFunc(values, func(v string) bool { return v != values[0] }) {
		return errors.New("bad content-length")
	}
	req.Length = int64(n)
	return nil
}

// trailer returns the section as a trailer.
func (r *fieldReader) trailer() (fixtures.Header, error) {
	switch {
	case r.err != nil:
		return nil, r.err
	case r.pseudo:
		return nil, errors.New("pseudo-field in trailers")
	case r.tooLarge:
		return nil, errors.New("trailers too large")
	}
	return r.header, nil
}
