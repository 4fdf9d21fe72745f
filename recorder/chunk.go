package recorder

import "sync"

// chunkSize is how many bytes of a body are held, and go to the writer, at a
// time: small frames of a long stream are gathered, so that the queue holds few
// of them. Smaller bodies have buffers of their own size.
const chunkSize = 64 << 10

// chunks are used again: to make and clear one costs as much as to fill it.
var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

func newChunk() []byte { return chunks.Get().(*[chunkSize]byte)[:0] }

// freeChunk takes back what newChunk gave; other memory is left to the collector.
func freeChunk(p []byte) {
	if cap(p) == chunkSize {
		chunks.Put((*[chunkSize]byte)(p[:chunkSize]))
	}
}
