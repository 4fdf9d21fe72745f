package http2

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures"
)

// toMap maps request fields to the client's type, in lower case. Fields that
// belong to one HTTP/1 connection are left out, and so are Host and
// Content-Length, which the client writes itself.
func toMap(h fixtures.Header) http.Header {
	m := make(http.Header, len(h))
	nominates := h.Has("connection")
	for _, f := range h {
		name := strings.ToLower(f.Name)
		switch {
		case connectionField(name), name == "host", name == "content-length", name == "http2-settings":
		case name == "te" && !h.HasToken("te", "trailers"):
		case nominates && name != "te" && h.HasToken("connection", name):
		case !validName(name) || !validValue(f.Value):
		case name == "te":
			m[name] = []string{"trailers"}
		default:
			m[name] = append(m[name], f.Value)
		}
	}
	return m
}

// fromMap maps fields back, in lower case and sorted by name; nil for none.
func fromMap(m http.Header) fixtures.Header {
	var h fixtures.Header
	for _, key := range slices.Sorted(maps.Keys(m)) {
		name := strings.ToLower(key)
		for _, v := range m[key] {
			h = append(h, fixtures.Field{Name: name, Value: v})
		}
	}
	return h
}

// announce puts the Trailer field back that the client took out of h, with the
// names it announced.
func announce(h *fixtures.Header, trailer http.Header) {
	if len(trailer) > 0 {
		names := slices.Sorted(maps.Keys(trailer))
		h.Add("trailer", strings.ToLower(strings.Join(names, ", ")))
	}
}
