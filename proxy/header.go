package proxy

import (
	"strings"

	"github.com/understudy-proxy/understudy/fixtures"
)

// endToEnd returns h without the fields for one hop alone (RFC 9110, 7.6.1), with edits applied;
// h itself where nothing changes. Transfer-Encoding and Content-Length stay:
// framing is the engines' affair. So do Upgrade and its Connection field.
func endToEnd(h fixtures.Header, edits []fixtures.Edit) fixtures.Header {
	kept := h
	for i := range h {
		if hopByHop(h[i].Name) {
			kept = withoutHop(h, len(edits))
			break
		}
	}
	if len(edits) == 0 {
		return kept
	}
	kept = append(make(fixtures.Header, 0, len(kept)+len(edits)), kept...)
	for _, e := range edits {
		switch e.Op {
		case fixtures.EditSet:
			kept.Set(e.Name, e.Value)
		case fixtures.EditAdd:
			kept.Add(e.Name, e.Value)
		case fixtures.EditRemove:
			kept.Del(e.Name)
		}
	}
	return kept
}

// withoutHop returns a copy of h without the fields for one hop.
func withoutHop(h fixtures.Header, room int) fixtures.Header {
	upgrade := h.HasToken("Connection", "upgrade")
	var listed []string
	for _, v := range h.Values("Connection") {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.TrimSpace(name); name != "" {
				listed = append(listed, name)
			}
		}
	}
	kept := make(fixtures.Header, 0, len(h)+room)
	for _, f := range h {
		switch {
		case upgrade && strings.EqualFold(f.Name, "Upgrade"):
			kept = append(kept, f)
		case upgrade && strings.EqualFold(f.Name, "Connection"):
			if !kept.Has("Connection") {
				kept = append(kept, fixtures.Field{Name: f.Name, Value: "Upgrade"})
			}
		case strings.EqualFold(f.Name, "TE"):
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
		if strings.EqualFold(name, l) {
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
