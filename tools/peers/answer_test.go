package main

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestReadAnswer(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for in, want := range map[string]answer{
		"":                                 {},
		ok + "Content-Length: 2\r\n":       {},
		ok + "Content-Length: 2\r\n\r\na":  {},
		ok + "content-length: 2\r\n\r\nab": {whole: true},
		ok + "Content-Length: 0\r\nConnection: close\r\n\r\n":               {whole: true, close: true},
		ok + "Connection: keep-alive\r\nContent-Length: 1\r\n\r\na":         {whole: true},
		ok + "Transfer-Encoding: chunked\r\n\r\n":                           {},
		ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nab":                    {},
		ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n":           {},
		ok + "Transfer-Encoding: chunked\r\n\r\n2;x=y\r\n\r\n\r\n0\r\n\r\n": {whole: true},
	} {
		if got, err := readAnswer([]byte(in)); err != nil || got != want {
			t.Errorf("readAnswer(%q) = %+v, %v, want %+v", in, got, err, want)
		}
	}
	for _, bad := range []string{
		"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
		ok + "\r\n",
		ok + "Content-Length: x\r\n\r\n",
		ok + "Content-Length: 1\r\n\r\nab",
		ok + "Transfer-Encoding: chunked\r\n\r\nx\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nTrailer: 1\r\n\r\n",
		ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1",
	} {
		if got, err := readAnswer([]byte(bad)); err == nil {
			t.Errorf("readAnswer(%q) = %+v, want an error", bad, got)
		}
	}
}

// What is whole was not whole with less, and is wrong with more.
func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"), uint(3))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"), uint(60))
	f.Fuzz(func(t *testing.T, b []byte, cut uint) {
		a, err := readAnswer(b)
		if err != nil || !a.whole {
			return
		}
		less := b[:cut%uint(len(b))]
		if got, err := readAnswer(less); err != nil || got.whole {
			t.Errorf("readAnswer(%q) = %+v, %v, want one that is not whole, as %q is", less, got, err, b)
		}
		more := append(bytes.Clone(b), 'x')
		if got, err := readAnswer(more); err == nil {
			t.Errorf("readAnswer(%q) = %+v, want an error, as %q is whole", more, got, b)
		}
	})
}

// control appends a control message as the kernel lays it out.
func control(b []byte, level, kind int32, data []byte) []byte {
	m := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&m[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(m[unix.CmsgLen(0):], data)
	return append(b, m...)
}

func stampData(sec, nsec int64) []byte {
	b := binary.NativeEndian.AppendUint64(nil, uint64(sec))
	return binary.NativeEndian.AppendUint64(b, uint64(nsec))
}

func stampControl(b []byte, at time.Time) []byte {
	return control(b, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, stampData(at.Unix(), int64(at.Nanosecond())))
}

func TestReadStamp(t *testing.T) {
	at := time.Unix(1_795_000_000, 123_456_789)
	other := control(nil, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, []byte{1, 2, 3, 4})
	for name, in := range map[string][]byte{
		"alone":         stampControl(nil, at),
		"after another": stampControl(bytes.Clone(other), at),
		"before":        append(stampControl(nil, at), other...),
	} {
		if got, ok := readStamp(in); !ok || !got.Equal(at) {
			t.Errorf("readStamp of a stamp %s = %v, %v, want %v", name, got, ok, at)
		}
	}
	for name, in := range map[string][]byte{
		"nothing":             nil,
		"another message":     other,
		"a short stamp":       control(nil, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, make([]byte, 8)),
		"another level":       control(nil, unix.IPPROTO_IP, unix.SO_TIMESTAMPNS_NEW, stampData(1, 2)),
		"too many ns":         control(nil, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, stampData(1, 1e9)),
		"less than a header":  stampControl(nil, at)[:8],
		"a message cut short": stampControl(nil, at)[:unix.CmsgLen(0)+4],
	} {
		if got, ok := readStamp(in); ok {
			t.Errorf("readStamp of %s = %v, want none", name, got)
		}
	}
}

// A stamp that is read stands in the message as it was read.
func FuzzReadStamp(f *testing.F) {
	f.Add(stampControl(control(nil, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, make([]byte, 4)), time.Unix(1, 2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if at, ok := readStamp(b); ok && !bytes.Contains(b, stampData(at.Unix(), int64(at.Nanosecond()))) {
			t.Errorf("readStamp(%x) = %v, want one that stands in it", b, at)
		}
	})
}

func TestUntilSocket(t *testing.T) {
	sentAt := time.Now()
	readAt := sentAt.Add(10 * time.Millisecond)
	wall := sentAt.Round(0)
	for name, c := range map[string]struct {
		control []byte
		want    time.Duration
	}{
		"a stamp":                  {stampControl(nil, wall.Add(7*time.Millisecond)), 7 * time.Millisecond},
		"none":                     {nil, -1},
		"a stamp before the send":  {stampControl(nil, wall.Add(-time.Nanosecond)), -1},
		"a stamp after the read":   {stampControl(nil, wall.Add(11*time.Millisecond)), -1},
		"a stamp at once":          {stampControl(nil, wall), 0},
		"a stamp that is the read": {stampControl(nil, wall.Add(10*time.Millisecond)), 10 * time.Millisecond},
	} {
		if got := untilSocket(sentAt, readAt, c.control); got != c.want {
			t.Errorf("untilSocket with %s = %v, want %v", name, got, c.want)
		}
	}
}
