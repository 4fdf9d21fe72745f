package tunnel

// frames are those that wait to be used again, by the size of their memory: what is held
// takes no more than it needs, and no collector is kept busy.
type frames struct {
	one  frame
	idle [len(roomSizes)][]*frame
}

// roomSizes are the sizes of memory: of acknowledgements, of full packets, of what the
// kernel leaves in one piece.
var roomSizes = [...]int{256, 2048, 16 << 10, packetAt + 1<<16}

// mostIdle bounds the memory that is kept for each size.
const mostIdle = 4 << 20

// scratch is a frame over memory of the caller's, until the next.
func (a *frames) scratch(data []byte) *frame {
	a.one = frame{data: data}
	return &a.one
}

// hold is a copy of a frame, to be freed.
func (a *frames) hold(f *frame) *frame {
	k := 0
	for roomSizes[k] < len(f.data) {
		k++
	}
	var held *frame
	if n := len(a.idle[k]); n > 0 {
		held, a.idle[k] = a.idle[k][n-1], a.idle[k][:n-1]
	} else {
		held = &frame{data: make([]byte, roomSizes[k])}
	}
	data := held.data[:len(f.data)] // its room has the capacity
	copy(data, f.data)
	*held = *f
	held.data = data
	return held
}

// free takes a frame back of which nothing is held any more.
func (a *frames) free(f *frame) {
	size := cap(f.data)
	for k, room := range roomSizes {
		if room == size && (len(a.idle[k])+1)*room <= mostIdle {
			f.data = f.data[:0]
			a.idle[k] = append(a.idle[k], f)
		}
	}
}
