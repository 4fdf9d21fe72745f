package http1

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/proxy/wire"
)

// answerFraming is what was decided for one response before its head is written.
type answerFraming struct {
	mode     framing // of the bytes that follow
	length   int64   // for sized
	bodyless bool    // HEAD, 204, 304: the fields describe a body that does not follow
	tunnel   bool    // 101, or 2xx to CONNECT: the connection changes hands
	close    bool    // the connection ends with this response
	keep10   bool    // an HTTP/1.0 client is to be told that it stays
}

// frameAnswer decides how a response is delimited.
func frameAnswer(h *wire.Head, in *requestInfo, closing bool) answerFraming {
	f := answerFraming{close: closing || in.close}
	switch {
	case h.Status == 101 || in.connect && h.Status/100 == 2:
		f.tunnel = true
		return f
	case in.head || h.Status == 204 || h.Status == 304:
		f.bodyless = true
	case h.Chunked && !in.old, h.Length < 0 && !in.old:
		f.mode = chunked
	case h.Length < 0:
		f.mode, f.close = untilClose, true
	default:
		f.mode, f.length = sized, h.Length
	}
	f.keep10 = in.old && !f.close
	return f
}

// appendAnswerHead appends a response's head, framing fields in the places
// where the header has them. idle is how long we keep the connection; 0 for ever.
func appendAnswerHead(b []byte, h *wire.Head, f answerFraming, old bool, idle time.Duration) ([]byte, error) {
	if h.Status < 200 && h.Status != 101 {
		return nil, fmt.Errorf("write head: status %d is not final", h.Status)
	}
	start := len(b)
	b, err := appendStatusLine(b, h.Status, h.Reason, h.Exact)
	if err != nil {
		return nil, err
	}
	lines := 1
	var saidLength, saidCoding, saidClose, saidKeep bool
	for i := range h.Header {
		name, value := h.Header[i].Name, h.Header[i].Value
		switch kindOf(name) {
		case contentLengthField:
			switch {
			case f.tunnel:
				continue
			case f.bodyless:
			case f.mode != sized || saidLength:
				continue
			default:
				if n, ok := parseLength(value); !ok || n != f.length {
					value = strconv.FormatInt(f.length, 10)
				}
				saidLength = true
			}
		case transferEncodingField:
			describes := f.bodyless && h.Status != 204 && !old
			if saidCoding || f.mode != chunked && !describes || !fold(value, "chunked") {
				continue
			}
			saidCoding = true
		case connectionField:
			switch {
			case f.tunnel:
			case h.Status == 426 && hasToken(value, "upgrade") && !hasToken(value, "keep-alive"):
				saidClose = saidClose || hasToken(value, "close")
				if saidClose && !f.close {
					continue
				}
			case f.close && fold(value, "close") && !saidClose:
				saidClose = true
			case !f.close && fold(value, "keep-alive") && !saidKeep:
				saidKeep = true
			default:
				continue
			}
		case keepAliveField:
			if f.close || f.tunnel || !keepsPromise(value, idle) {
				continue
			}
		case proxyConnectionField:
			continue
		case upgradeField:
			if h.Status != 101 && h.Status != 426 {
				continue
			}
		}
		if !validToken(name) {
			return nil, fieldError(name)
		}
		b = appendField(b, name, value)
		lines++
	}
	if f.mode == sized && !saidLength {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, f.length, 10)
		b = append(b, "\r\n"...)
		lines++
	}
	if f.mode == chunked && !saidCoding {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		lines++
	}
	switch {
	case f.tunnel:
	case f.close && !saidClose:
		b = append(b, "Connection: close\r\n"...)
		lines++
	case f.keep10 && !saidKeep:
		b = append(b, "Connection: keep-alive\r\n"...)
		lines++
	}
	if err := checkLines(b[start:], lines); err != nil {
		return nil, err
	}
	return append(b, "\r\n"...), nil
}

// keepsPromise reports whether we keep a connection at least as long as a
// Keep-Alive value says.
func keepsPromise(value string, idle time.Duration) bool {
	if idle == 0 {
		return true
	}
	for part := range strings.SplitSeq(value, ",") {
		name, secs, _ := strings.Cut(trimOWS(part), "=")
		if fold(name, "timeout") {
			n, ok := parseLength(secs)
			return ok && n <= int64(idle/time.Second)
		}
	}
	return true
}
