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
	upgrade := h.HasToken("Connection", "upgrade")
	var room [4]string
	listed := room[:0] // without an allocation where few are
	for i := range h {
		if len(h[i].Name) != len("Connection") || !strings.EqualFold(h[i].Name, "Connection") {
			continue
		}
		for rest, more := h[i].Value, true; more; {
			var name string
			name, rest, more = strings.Cut(rest, ",")
			if name = strings.TrimSpace(name); name != "" {
				listed = append(listed, name)
			}
		}
	}
	for _, f := range h {
		switch {
		case upgrade && strings.EqualFold(f.Name, "Upgrade"):
			kept = append(kept, f)
		case upgrade && strings.EqualFold(f.Name, "Connection"):
			if !kept.Has("Connection") {
				kept = append(kept, fixtures.Field{Name: f.Name, Value: "Upgrade"})
			}
		case len(f.Name) == 2 && strings.EqualFold(f.Name, "TE"):
			if h.HasToken("TE", "trailers") && !kept.Has("TE") {
				kept = append(kept, fixtures.Field{Name: f.Name, Value: "trailers"})
			}
		case hopByHop(f.Name) || among(f.Name, listed):
		default:
			kept = append(kept, f)
		}
	}
	return kept
}

func among(name string, list []string) bool {
	for _, l := range list {
		if len(name) == len(l) && strings.EqualFold(name, l) {
			return true
		}
	}
	return false
}

// hopByHop reports whether a field is for one connection alone.
func hopByHop(name string) bool {
	switch len(name) {
	case 2:
		return strings.EqualFold(name, "TE")
	case 7:
		return strings.EqualFold(name, "Upgrade")
	case 10:
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive")
	case 16:
		return strings.EqualFold(name, "Proxy-Connection")
	case 18:
		return strings.EqualFold(name, "Proxy-Authenticate")
	case 19:
		return strings.EqualFold(name, "Proxy-Authorization")
	}
	return false
}
