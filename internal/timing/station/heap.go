package station

// event is something at a moment, real or virtual, that concerns a visit.
type event struct {
	at float64
	i  int32
}

// events is a heap, the earliest first; of two at once the earlier visit's.
type events []event

func (e event) before(o event) bool { return e.at < o.at || e.at == o.at && e.i < o.i }

func (h *events) push(e event) {
	*h = append(*h, e)
	a := *h
	i := len(a) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(a[up]) {
			break
		}
		a[i] = a[up]
		i = up
	}
	a[i] = e
}

func (h *events) pop() event {
	a := *h
	top, last := a[0], a[len(a)-1]
	a = a[:len(a)-1]
	*h = a
	if len(a) > 0 {
		i := 0
		for {
			down := 2*i + 1
			if down >= len(a) {
				break
			}
			if down+1 < len(a) && a[down+1].before(a[down]) {
				down++
			}
			if !a[down].before(last) {
				break
			}
			a[i] = a[down]
			i = down
		}
		a[i] = last
	}
	return top
}

// servers is a heap of the moments from which each of a FIFO station's servers is free. It
// holds those that were ever needed.
type servers struct {
	most int
	free []int64
}

// start is when who comes at a moment is served.
func (s *servers) start(at int64) int64 {
	if len(s.free) < s.most {
		return at
	}
	return max(at, s.free[0])
}

// hold takes the server that is free first until a moment.
func (s *servers) hold(until int64) {
	if len(s.free) < s.most {
		s.free = append(s.free, until)
		i := len(s.free) - 1
		for i > 0 && s.free[(i-1)/2] > until {
			s.free[i] = s.free[(i-1)/2]
			i = (i - 1) / 2
		}
		s.free[i] = until
		return
	}
	a, i := s.free, 0
	for {
		down := 2*i + 1
		if down >= len(a) {
			break
		}
		if down+1 < len(a) && a[down+1] < a[down] {
			down++
		}
		if a[down] >= until {
			break
		}
		a[i] = a[down]
		i = down
	}
	a[i] = until
}
