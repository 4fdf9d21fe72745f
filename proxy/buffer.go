package proxy

import "sync"

const (
	// bodyRead is the most of a body that is read from upstream at a time.
	bodyRead = 64 << 10
	// smallBody is up to where a body is read into a small buffer: many of them
	// may be held at once by slow clients.
	smallBody = 4 << 10
)

var (
	largePool = sync.Pool{New: func() any { return new([bodyRead]byte) }}
	smallPool = sync.Pool{New: func() any { return new([smallBody]byte) }}
)

// pooledBuffer is a buffer for one body, given back at its end.
type pooledBuffer struct {
	large *[bodyRead]byte
	small *[smallBody]byte
}

// take returns a buffer for a body of length bytes, -1 for unknown. It is never empty.
func (b *pooledBuffer) take(length int64) []byte {
	if length >= 0 && length <= smallBody {
		b.small = smallPool.Get().(*[smallBody]byte)
		return b.small[:max(length, 1)]
	}
	b.large = largePool.Get().(*[bodyRead]byte)
	if length > 0 && length < bodyRead {
		return b.large[:length]
	}
	return b.large[:]
}

// free gives the buffer back; what take returned must not be used any more.
func (b *pooledBuffer) free() {
	if b.large != nil {
		largePool.Put(b.large)
	}
	if b.small != nil {
		smallPool.Put(b.small)
	}
	*b = pooledBuffer{}
}
