package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// answer is what the client knows of an answer from its bytes so far.
type answer struct {
	whole bool // all of it has come
	close bool // the server ends the connection after it
}

// readAnswer looks at the bytes of one answer, as far as they have come. It
// knows what the subjects send: 200, a length that is announced or chunks. It
// returns an error for anything else, and for bytes beyond the answer's end.
func readAnswer(b []byte) (answer, error) {
	head, body, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return answer{}, nil
	}
	status, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200")) {
		return answer{}, fmt.Errorf("read an answer: want HTTP/1.1 200, got %q", status)
	}
	a, length, chunked := answer{}, -1, false
	for len(fields) > 0 {
		var line []byte
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			n, err := strconv.ParseUint(string(value), 10, 31)
			if err != nil {
				return answer{}, fmt.Errorf("read an answer: Content-Length: want a number, got %q", value)
			}
			length = int(n)
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")):
			a.close = bytes.EqualFold(value, []byte("close"))
		}
	}
	more := 0
	var err error
	switch {
	case chunked:
		if a.whole, more, err = readChunks(body); err != nil {
			return answer{}, err
		}
	case length >= 0:
		a.whole, more = len(body) >= length, len(body)-length
	default:
		return answer{}, fmt.Errorf("read an answer: want a length or chunks, got neither in %q", head)
	}
	if a.whole && more > 0 {
		return answer{}, fmt.Errorf("read an answer: want its end, got %d bytes more", more)
	}
	return a, nil
}

// readChunks tells whether a chunked body is whole, and how many bytes follow it.
func readChunks(b []byte) (whole bool, more int, err error) {
	for {
		line, rest, ok := bytes.Cut(b, []byte("\r\n"))
		if !ok {
			return false, 0, nil
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 31)
		if err != nil {
			return false, 0, fmt.Errorf("read an answer: want a chunk's size, got %q", line)
		}
		if n == 0 {
			// No subject sends trailers.
			if len(rest) >= 2 && !bytes.HasPrefix(rest, []byte("\r\n")) {
				return false, 0, fmt.Errorf("read an answer: want the end of the chunks, got %q", rest[:2])
			}
			return len(rest) >= 2, len(rest) - 2, nil
		}
		if len(rest) < int(n)+2 {
			return false, 0, nil
		}
		b = rest[n+2:]
	}
}

// stampSize is two 64-bit numbers, seconds and nanoseconds, on every
// architecture. Source: linux/time_types.h, struct __kernel_timespec.
const stampSize = 16

// readStamp finds the moment at which the kernel took the bytes in for the
// socket, by CLOCK_REALTIME, among the control messages of a read. There is none in
// the first milliseconds after a socket has asked for stamps when no other
// did: the kernel then begins to stamp from a work queue.
func readStamp(control []byte) (time.Time, bool) {
	for len(control) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return time.Time{}, false
		}
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS_NEW && len(data) >= stampSize {
			sec := int64(binary.NativeEndian.Uint64(data))
			nsec := int64(binary.NativeEndian.Uint64(data[8:]))
			if nsec < 0 || nsec >= int64(time.Second) {
				return time.Time{}, false
			}
			return time.Unix(sec, nsec), true
		}
		control = rest
	}
	return time.Time{}, false
}
