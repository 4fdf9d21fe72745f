// Package jks reads and writes Java's trust stores of the format JKS, which every
// Java reads as its own cacerts, whatever its version. It holds certificates only:
// private keys in a store are skipped, and the password, which protects nothing in
// a store of public certificates, is not checked.
//
// Source of the format: the comment at the top of OpenJDK's
// sun/security/provider/JavaKeyStore.java.
package jks

import (
	"crypto/sha1" // the format's own; it is no protection
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf16"
)

const (
	magic      = 0xfeedfeed
	version    = 2
	keyEntry   = 1
	trustEntry = 2
	kind       = "X.509"
)

// IsStore reports whether data begins as a store of this format.
func IsStore(data []byte) bool { return len(data) >= 4 && binary.BigEndian.Uint32(data) == magic }

// Encode writes a store of certificates, in DER, in their order. Java checks a
// store's integrity by its password; its own cacerts have "changeit".
func Encode(certs [][]byte, password string) ([]byte, error) {
	size := 12 + sha1.Size
	for _, c := range certs {
		size += 64 + len(c)
	}
	b := make([]byte, 0, size)
	b = binary.BigEndian.AppendUint32(b, magic)
	b = binary.BigEndian.AppendUint32(b, version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(certs)))
	for i, c := range certs {
		if len(c) > math.MaxInt32 {
			return nil, fmt.Errorf("encode trust store: certificate %d has %d bytes", i, len(c))
		}
		b = binary.BigEndian.AppendUint32(b, trustEntry)
		b = appendText(b, fmt.Sprintf("root-%d", i)) // an alias, which is for people
		b = binary.BigEndian.AppendUint64(b, 0)      // when it was added
		b = appendText(b, kind)
		b = binary.BigEndian.AppendUint32(b, uint32(len(c)))
		b = append(b, c...)
	}
	return append(b, digest(b, password)...), nil
}

func appendText(b []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
}

func digest(data []byte, password string) []byte {
	h := sha1.New()
	for _, u := range utf16.Encode([]rune(password)) {
		h.Write([]byte{byte(u >> 8), byte(u)})
	}
	h.Write([]byte("Mighty Aphrodite"))
	h.Write(data)
	return h.Sum(nil)
}

var errShort = errors.New("decode trust store: it is cut short")

// Decode returns the certificates that a store trusts, in DER. They are parts of data.
func Decode(data []byte) (certs [][]byte, err error) {
	r := reader{rest: data}
	if r.uint32() != magic {
		return nil, errors.New("decode trust store: it is no JKS")
	}
	if v := r.uint32(); v != 1 && v != version {
		return nil, fmt.Errorf("decode trust store: version %d is not known", v)
	} else if v == 1 {
		r.untyped = true
	}
	count := r.uint32()
	if r.short {
		return nil, errShort
	}
	for range count {
		tag := r.uint32()
		r.text() // alias
		r.take(8)
		switch tag {
		case trustEntry:
			if c := r.certificate(); !r.short {
				certs = append(certs, c)
			}
		case keyEntry:
			r.take(uint64(r.uint32()))
			for range r.uint32() {
				if r.certificate(); r.short {
					break
				}
			}
		default:
			if !r.short {
				return nil, fmt.Errorf("decode trust store: an entry of kind %d is not known", tag)
			}
		}
		if r.short {
			return nil, errShort
		}
	}
	return certs, nil
}

// reader takes a store apart; once something is missing all that follows is empty.
type reader struct {
	rest    []byte
	short   bool
	untyped bool // version 1: certificates do not name their type
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.rest, r.short = nil, true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) text() {
	if b := r.take(2); b != nil {
		r.take(uint64(binary.BigEndian.Uint16(b)))
	}
}

func (r *reader) certificate() []byte {
	if !r.untyped {
		r.text()
	}
	return r.take(uint64(r.uint32()))
}
