package http1

import "sync"

const (
	// pieceBytes is what one read of a streamed request body can take, at first.
	pieceBytes = 32 << 10
	// floodBytes is what it can take once so much was there at once.
	floodBytes = 256 << 10
)

var (
	piecePool = sync.Pool{New: func() any { return new([pieceBytes]byte) }}
	floodPool = sync.Pool{New: func() any { return new([floodBytes]byte) }}
)

// pieceBuffer is a pooled buffer for pieces of a request's body.
type pieceBuffer struct {
	small *[pieceBytes]byte
	flood *[floodBytes]byte // in small's place
}

func (b *pieceBuffer) bytes() []byte {
	if b.flood != nil {
		return b.flood[:]
	}
	return b.small[:]
}

// grow changes to a larger buffer; what bytes returned must not be used any more.
func (b *pieceBuffer) grow() {
	if b.flood == nil {
		b.free()
		b.flood = floodPool.Get().(*[floodBytes]byte)
	}
}

func (b *pieceBuffer) free() {
	if b.small != nil {
		piecePool.Put(b.small)
	}
	if b.flood != nil {
		floodPool.Put(b.flood)
	}
	*b = pieceBuffer{}
}
