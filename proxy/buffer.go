package proxy

import "sync"

const (
	// bodyRead is the most of a body that is read from upstream at a time, unless
	// the body is long or so much came at once: then it is floodRead. Measured on
	// 1 MiB over loopback, copies of 256 KiB cost the proxy a seventh more CPU
	// than splicing and the machine, with client and upstream, two fifths less:
	// spliced, a message stays in single pages up to its reader.
	bodyRead  = 64 << 10
	floodRead = 256 << 10
	// smallBody is up to where a body is read into a small buffer: many of them
	// may be held at once by slow clients.
	smallBody = 4 << 10
)

var (
	floodPool = sync.Pool{New: func() any { return new([floodRead]byte) }}
	largePool = sync.Pool{New: func() any { return new([bodyRead]byte) }}
	smallPool = sync.Pool{New: func() any { return new([smallBody]byte) }}
)

// pooledBuffer is a buffer for one body, given back at its end.
type pooledBuffer struct {
	flood *[floodRead]byte
	large *[bodyRead]byte
	small *[smallBody]byte
}

// take returns a buffer for a body of length bytes, -1 for unknown. It is never empty.
func (b *pooledBuffer) take(length int64) []byte {
	if length >= 0 && length <= smallBody {
		b.small = smallPool.Get().(*[smallBody]byte)
		return b.small[:max(length, 1)]
	}
	if length >= floodRead {
		b.flood = floodPool.Get().(*[floodRead]byte)
		return b.flood[:]
	}
	b.large = largePool.Get().(*[bodyRead]byte)
	if length > 0 && length < bodyRead {
		return b.large[:length]
	}
	return b.large[:]
}

// grown returns the buffer for what follows a read that gave n bytes of a body
// into buf, which take or grown returned and which nobody needs any more.
func (b *pooledBuffer) grown(buf []byte, n int) []byte {
	if n < bodyRead || b.flood != nil {
		return buf
	}
	b.free()
	b.flood = floodPool.Get().(*[floodRead]byte)
	return b.flood[:]
}

// free gives the buffer back; what take returned must not be used any more.
func (b *pooledBuffer) free() {
	if b.flood != nil {
		floodPool.Put(b.flood)
	}
	if b.large != nil {
		largePool.Put(b.large)
	}
	if b.small != nil {
		smallPool.Put(b.small)
	}
	*b = pooledBuffer{}
}
