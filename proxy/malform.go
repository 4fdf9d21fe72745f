package proxy

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// malform breaks the syntax of the answer's head, or of its chunks. It reports
// whether the exchange has ended with it.
func (v *visit) malform(a *answer) (bool, error) {
	f := v.x.Plan.Fault
	if f == nil || f.Kind != fixtures.FaultMalformed {
		return false, nil
	}
	v.x.Outcome = fixtures.OutcomeFault
	if err := v.meet(); err != nil {
		return true, err
	}
	if v.r.Proto == "HTTP/2.0" {
		// A HEADERS frame on stream 0 is a connection error (RFC 9113, 6.2).
		return true, v.w.Break(wire.Break{Kind: wire.Raw, Bytes: []byte{0, 0, 1, 1, 4, 0, 0, 0, 0, 0x88}})
	}
	return true, v.w.Break(wire.Break{Kind: wire.Raw, Bytes: malformed(&a.head, f.Where)})
}

// malformed is a response head in HTTP/1 with something wrong in one place.
func malformed(h *wire.Head, where fixtures.FaultWhere) []byte {
	reason := h.Reason
	if reason == "" {
		reason = http.StatusText(h.Status)
	}
	var b strings.Builder
	if where == fixtures.WhereHeader || where == fixtures.WhereChunk {
		fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", h.Status, reason)
	} else {
		// Letters in the status code: no client takes it for HTTP/0.9, as some do a
		// line that does not look like HTTP at all.
		fmt.Fprintf(&b, "HTTP/1.1 2OO %s\r\n", reason)
	}
	for _, f := range h.Header {
		switch strings.ToLower(f.Name) {
		case "content-length", "transfer-encoding", "connection":
		default:
			b.WriteString(f.Name + ": " + f.Value + "\r\n")
		}
	}
	switch where {
	case fixtures.WhereHeader:
		b.WriteString("this line has no colon\r\n : and this one no name\r\n\r\n")
	case fixtures.WhereChunk:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\nnot-a-size\r\n")
	default:
		b.WriteString("\r\n")
	}
	return []byte(b.String())
}
