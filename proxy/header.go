package proxy

import (
	"strings"

	"github.com/understudy-proxy/understudy/fixtures"
)

// endToEnd returns h without the fields for one hop alone (RFC 9110, 7.6.1), with edits applied;
// h itself where nothing changes. Transfer-Encoding and Content-Length stay:
// framing is the engines' affair. So do Upgrade and its Connection field. What
// changes is written into the array of room, which may be nil.
func endToEnd(h fixtures.Header, edits []fixtures.Edit, room *fixtures.Header) fixtures.Header {
	hop := hasHop(h)
	if !hop && len(edits) == 0 {
		return h
	}
	var kept fixtures.Header
	if room != nil {
		kept = (*room)[:0]
	}
	if hop {
		kept = withoutHop(h, kept)
	} else {
		kept = append(kept, h...)
	}
	kept = edited(kept, edits)
	if room != nil {
		*room = kept
	}
	return kept
}

// edited applies edits to h, in place where there is room.
func edited(h fixtures.Header, edits []fixtures.Edit) fixtures.Header {
	for _, e := range edits {
		switch e.Op {
		case fixtures.EditSet:
			h.Set(e.Name, e.Value)
		case fixtures.EditAdd:
			h.Add(e.Name, e.Value)
		case fixtures.EditRemove:
			h.Del(e.Name)
		}
	}
	return h
}

// hasHop reports whether h has fields for one hop alone.
func hasHop(h fixtures.Header) bool {
	for i := range h {
		if hopByHop(h[i].Name) {
			return true
		}
	}
	return false
}

// withoutHop appends h to kept, without the fields for one hop.
func withoutHop(h, kept fixtures.Header) fixtures.Header {
	var room [4]string
	upgrade, listed := connectionOptions(h, room[:0])
	for i := range h {
		f := &h[i]
		switch hop := hopByHop(f.Name); {
		case !hop && !among(f.Name, listed):
			kept = append(kept, *f)
		case !hop:
		case upgrade && named(f.Name, "Upgrade"):
			kept = append(kept, *f)
		case upgrade && named(f.Name, "Connection"):
			if !kept.Has("Connection") {
				kept = append(kept, fixtures.Field{Name: f.Name, Value: "Upgrade"})
			}
		case named(f.Name, "TE"):
			if h.HasToken("TE", "trailers") && !kept.Has("TE") {
				kept = append(kept, fixtures.Field{Name: f.Name, Value: "trailers"})
			}
		}
	}
	return kept
}

// connectionOptions is whether h's Connection fields ask for an upgrade, and appends to
// listed the names in them that are not for one hop anyway.
func connectionOptions(h fixtures.Header, listed []string) (upgrade bool, _ []string) {
	for i := range h {
		if !named(h[i].Name, "Connection") || named(h[i].Value, "keep-alive") { // the usual one lists nothing else
			continue
		}
		for rest, more := h[i].Value, true; more; {
			var name string
			name, rest, more = strings.Cut(rest, ",")
			switch name = strings.TrimSpace(name); {
			case named(name, "Upgrade"):
				upgrade = true
			case name != "" && !hopByHop(name):
				listed = append(listed, name)
			}
		}
	}
	return upgrade, listed
}

func among(name string, list []string) bool {
	for _, l := range list {
		if named(name, l) {
			return true
		}
	}
	return false
}

// named compares field names, without case.
func named(name, other string) bool {
	return len(name) == len(other) && (name == other || name != "" && name[0]|0x20 == other[0]|0x20 && strings.EqualFold(name, other))
}

// hopLengths has a bit for the length of each field's name that is for one hop.
const hopLengths = 1<<len("TE") | 1<<len("Upgrade") | 1<<len("Connection") | 1<<len("Proxy-Connection") |
	1<<len("Proxy-Authenticate") | 1<<len("Proxy-Authorization")

// hopByHop reports whether a field is for one connection alone.
func hopByHop(name string) bool {
	if hopLengths>>min(len(name), 63)&1 == 0 { // most are
		return false
	}
	switch len(name) {
	case 2:
		return named(name, "TE")
	case 7:
		return named(name, "Upgrade")
	case 10:
		return named(name, "Connection") || named(name, "Keep-Alive")
	case 16:
		return named(name, "Proxy-Connection")
	case 18:
		return named(name, "Proxy-Authenticate")
	}
	return named(name, "Proxy-Authorization")
}
