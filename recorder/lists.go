package recorder

import "github.com/understudy-proxy/understudy/fixtures"

// listKept is how many elements an array that is used again may have.
const listKept = 64

// lists are arrays for the headers and frames of one exchange's record: theirs are the
// traffic's, which uses them again. The strings are shared, they do not change.
type lists struct {
	headers [4]fixtures.Header
	frames  [2][]fixtures.Frame
}

// of is where x has its headers and frames, in the order of the arrays.
func (*lists) of(x *fixtures.Exchange) ([4]*fixtures.Header, [2]*[]fixtures.Frame) {
	q, a := &x.Request, &x.Response
	return [...]*fixtures.Header{&q.Header, &q.Trailer, &a.Header, &a.Trailer}, [...]*[]fixtures.Frame{&q.Body.Frames, &a.Body.Frames}
}

// take gives x copies in place of its arrays.
func (l *lists) take(x *fixtures.Exchange) {
	headers, frames := l.of(x)
	for i, h := range headers {
		l.headers[i] = append(l.headers[i][:0], *h...)
		*h = l.headers[i]
	}
	for i, f := range frames {
		l.frames[i] = append(l.frames[i][:0], *f...)
		*f = l.frames[i]
	}
}

// clear lets go of what is in the arrays, and of large ones.
func (l *lists) clear() {
	for i, h := range l.headers {
		clear(h)
		if l.headers[i] = h[:0]; cap(h) > listKept {
			l.headers[i] = nil
		}
	}
	for i, f := range l.frames {
		if l.frames[i] = f[:0]; cap(f) > listKept {
			l.frames[i] = nil
		}
	}
}
