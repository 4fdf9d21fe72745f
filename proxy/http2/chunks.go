package http2

// chunks holds the bytes of a body that arrived and were not read yet, one
// chunk a DATA frame, so that a reader who keeps up sees the frames as they
// came. A reader who lags finds frames joined, which bounds what small frames
// can cost.
type chunks struct {
	list [][]byte
	off  int // read of list[0]
	size int
}

const (
	// maxChunks is how many frames are kept apart.
	maxChunks = 64
	// joinSize is the least room that is made when frames are joined.
	joinSize = 4 << 10
)

func (c *chunks) empty() bool { return c.size == 0 }

// push copies p.
func (c *chunks) push(p []byte) {
	if len(p) == 0 {
		return
	}
	c.size += len(p)
	if n := len(c.list); n >= maxChunks {
		if last := c.list[n-1]; cap(last)-len(last) >= len(p) {
			c.list[n-1] = append(last, p...)
			return
		}
		c.list = append(c.list, append(make([]byte, 0, max(joinSize, len(p))), p...))
		return
	}
	c.list = append(c.list, append(make([]byte, 0, len(p)), p...))
}

// pop moves bytes of the first chunk to p and returns how many.
func (c *chunks) pop(p []byte) int {
	n := copy(p, c.list[0][c.off:])
	c.size -= n
	if c.off += n; c.off == len(c.list[0]) {
		c.list[0] = nil
		c.list, c.off = c.list[1:], 0
	}
	return n
}

// drop empties it and returns how many bytes were in it.
func (c *chunks) drop() int64 {
	n := int64(c.size)
	*c = chunks{}
	return n
}

// grave remembers the streams that we reset last: frames for them may still be
// under way, and are to be ignored (RFC 9113, 5.1).
type grave struct {
	ids  [128]uint32
	next int
}

func (g *grave) add(id uint32) {
	g.ids[g.next] = id
	g.next = (g.next + 1) % len(g.ids)
}

func (g *grave) has(id uint32) bool {
	for _, v := range g.ids {
		if v == id {
			return true
		}
	}
	return false
}
