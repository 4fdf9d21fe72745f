package http2

import (
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/understudy-proxy/understudy/fixtures"
)

// writeFields adds a field section: a response's head, or trailers where status
// is 0. Fields that HTTP/2 cannot carry are left out. mu is held.
func (c *conn) writeFields(id uint32, status int, h fixtures.Header, end bool) {
	c.hbuf.Reset()
	if status != 0 {
		c.encode(":status", statusText(status))
	}
	nominates := h.Has("connection") // other fields as its own
	for _, f := range h {
		name := strings.ToLower(f.Name)
		value := strings.Trim(f.Value, " \t")
		if !connectionField(name) && validName(name) && validValue(value) && !(nominates && h.HasToken("connection", name)) {
			c.encode(name, value)
		}
	}
	c.out = appendHeaders(c.out, id, c.hbuf.Bytes(), end, int(min(c.peerFrame, maxData)))
}

// encode adds one field to hbuf. Writes to a bytes.Buffer cannot fail.
func (c *conn) encode(name, value string) {
	_ = c.henc.WriteField(hpack.HeaderField{Name: name, Value: value})
}

// statusText saves the conversion for the most frequent status.
func statusText(status int) string {
	if status == 200 {
		return "200"
	}
	return strconv.Itoa(status)
}

// withLength returns h with the one content-length that agrees with length; -1
// is unknown. It copies where it must change something.
func withLength(h fixtures.Header, length int64) fixtures.Header {
	values := h.Values("content-length")
	if length < 0 {
		if len(values) == 0 {
			return h
		}
		h = h.Clone()
		h.Del("content-length")
		return h
	}
	want := strconv.FormatInt(length, 10)
	if len(values) == 1 && values[0] == want {
		return h
	}
	h = append(make(fixtures.Header, 0, len(h)+1), h...)
	h.Set("content-length", want)
	return h
}
