package station

import "cmp"

// The orders in which a Live keeps turns: each turn knows its place in every one of them.
const (
	byEntry   = iota // who is still before the station, by when they come to it
	byFree           // a FIFO's servers, by when they are free
	byFinish         // who is being served, by virtual time
	byTail           // whose answer is under way, by its end
	byWaiting        // who was told to ask again later, by virtual time
	orders
)

// order is a binary min-heap of turns by a moment, real or virtual; of two with the same
// one who was pushed earlier comes first.
type order[K cmp.Ordered] struct {
	which int // one of the constants above
	count uint64
	list  []placed[K]
}

type placed[K cmp.Ordered] struct {
	key  K
	n    uint64
	turn *Turn // nil for a server whose turn has gone
}

func (p *placed[K]) before(q *placed[K]) bool { return p.key < q.key || p.key == q.key && p.n < q.n }

func (o *order[K]) has(t *Turn) bool { return t.places[o.which] > 0 }

// first is who comes first. The order must not be empty.
func (o *order[K]) first() placed[K] { return o.list[0] }

func (o *order[K]) push(key K, t *Turn) {
	o.count++
	o.list = append(o.list, placed[K]{})
	o.set(len(o.list)-1, placed[K]{key, o.count, t})
	o.up(len(o.list) - 1)
}

func (o *order[K]) pop() placed[K] {
	p := o.list[0]
	o.removeAt(0)
	return p
}

// remove takes t out where it is in.
func (o *order[K]) remove(t *Turn) bool {
	if !o.has(t) {
		return false
	}
	o.removeAt(int(t.places[o.which]) - 1)
	return true
}

func (o *order[K]) removeAt(i int) {
	last := len(o.list) - 1
	if t := o.list[i].turn; t != nil {
		t.places[o.which] = 0
	}
	moved := o.list[last]
	o.list[last] = placed[K]{}
	o.list = o.list[:last]
	if i < last {
		o.set(i, moved)
		o.down(i)
		o.up(i)
	}
}

// replace puts another in the place of who comes first.
func (o *order[K]) replace(key K, t *Turn) {
	if old := o.list[0].turn; old != nil {
		old.places[o.which] = 0
	}
	o.count++
	o.set(0, placed[K]{key, o.count, t})
	o.down(0)
}

func (o *order[K]) set(i int, p placed[K]) {
	o.list[i] = p
	if p.turn != nil {
		p.turn.places[o.which] = int32(i + 1)
	}
}

func (o *order[K]) up(i int) {
	for p := o.list[i]; i > 0; {
		parent := (i - 1) / 2
		if o.list[parent].before(&p) {
			return
		}
		o.set(i, o.list[parent])
		o.set(parent, p)
		i = parent
	}
}

func (o *order[K]) down(i int) {
	for p := o.list[i]; ; {
		child := 2*i + 1
		if child >= len(o.list) {
			return
		}
		if right := child + 1; right < len(o.list) && o.list[right].before(&o.list[child]) {
			child = right
		}
		if p.before(&o.list[child]) {
			return
		}
		o.set(i, o.list[child])
		o.set(child, p)
		i = child
	}
}
