package http2

import (
	"encoding/binary"

	xhttp2 "golang.org/x/net/http2"
)

// Frames are appended to one buffer per connection, so that many leave in one
// write. Source: RFC 9113, 4.1 and 6.

const frameHeaderLen = 9

func appendFrameHeader(b []byte, length int, t xhttp2.FrameType, flags xhttp2.Flags, id uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(t), byte(flags),
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

func appendSettings(b []byte, settings ...xhttp2.Setting) []byte {
	b = appendFrameHeader(b, 6*len(settings), xhttp2.FrameSettings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	return b
}

func appendSettingsAck(b []byte) []byte {
	return appendFrameHeader(b, 0, xhttp2.FrameSettings, xhttp2.FlagSettingsAck, 0)
}

func appendPing(b []byte, ack bool, data [8]byte) []byte {
	var flags xhttp2.Flags
	if ack {
		flags = xhttp2.FlagPingAck
	}
	b = appendFrameHeader(b, len(data), xhttp2.FramePing, flags, 0)
	return append(b, data[:]...)
}

func appendWindowUpdate(b []byte, id, increment uint32) []byte {
	b = appendFrameHeader(b, 4, xhttp2.FrameWindowUpdate, 0, id)
	return binary.BigEndian.AppendUint32(b, increment)
}

func appendReset(b []byte, id uint32, code xhttp2.ErrCode) []byte {
	b = appendFrameHeader(b, 4, xhttp2.FrameRSTStream, 0, id)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendGoAway(b []byte, last uint32, code xhttp2.ErrCode, debug string) []byte {
	b = appendFrameHeader(b, 8+len(debug), xhttp2.FrameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, debug...)
}

// appendHeaders adds a field block, cut into HEADERS and CONTINUATION frames of
// at most frameSize bytes.
func appendHeaders(b []byte, id uint32, block []byte, endStream bool, frameSize int) []byte {
	t, flags := xhttp2.FrameHeaders, xhttp2.Flags(0)
	if endStream {
		flags = xhttp2.FlagHeadersEndStream
	}
	for {
		n := min(len(block), frameSize)
		if n == len(block) {
			flags |= xhttp2.FlagHeadersEndHeaders
		}
		b = appendFrameHeader(b, n, t, flags, id)
		b = append(b, block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return b
		}
		t, flags = xhttp2.FrameContinuation, 0
	}
}
