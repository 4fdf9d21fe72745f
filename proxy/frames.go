package proxy

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

// errCutShort ends a body where the recording of it ended, before its end.
var errCutShort = errors.New("broken off as it was recorded")

// frameReader hands out a recorded body in its frames. Frames that are due
// already come together, except where the recording sent them as separate chunks.
type frameReader struct {
	frames   []fixtures.Frame
	base     *time.Time // from which they count; it may move until the first is asked for
	speed    float64    // divides the recorded times; 0 for all at once
	separate bool
	cut      bool // the recording ended before the body did
	left     int64

	run int64     // bytes still to come of the frames under way
	due time.Time // when they are due

	bytes []byte    // the body, or
	src   io.Reader // where it is read from
	buf   []byte
}

// fileRead is how much of a body that lives in a file is read at a time.
const fileRead = 64 << 10

func (f *frameReader) next() ([]byte, time.Time, error) {
	if f.left <= 0 {
		if f.cut {
			return nil, time.Time{}, errCutShort
		}
		return nil, time.Time{}, io.EOF
	}
	if f.run == 0 {
		f.nextRun()
	}
	n := f.run
	if f.src == nil {
		part := f.bytes[:n]
		f.bytes = f.bytes[n:]
		f.run, f.left = 0, f.left-n
		if f.left == 0 && !f.cut {
			return part, f.due, io.EOF
		}
		return part, f.due, nil
	}
	if f.buf == nil {
		f.buf = make([]byte, min(fileRead, f.left))
	}
	n = min(n, int64(len(f.buf)))
	if _, err := io.ReadFull(f.src, f.buf[:n]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the file is shorter than the record says
		}
		return nil, f.due, fmt.Errorf("read recorded body: %w", err)
	}
	f.run, f.left = f.run-n, f.left-n
	if f.left == 0 && !f.cut {
		return f.buf[:n], f.due, io.EOF
	}
	return f.buf[:n], f.due, nil
}

// nextRun finds how many bytes come next and when they are due. Bytes that no
// frame accounts for come at once. It reads the clock only where that decides
// whether another frame comes along.
func (f *frameReader) nextRun() {
	f.run, f.due = 0, time.Time{}
	var now time.Time
	later := func(due time.Time) bool {
		if f.speed == 0 {
			return false
		}
		if now.IsZero() {
			now = time.Now()
		}
		return due.After(now)
	}
	for len(f.frames) > 0 {
		frame := f.frames[0]
		due := f.base.Add(scaled(frame.At, f.speed))
		if f.run > 0 && (f.separate || later(due)) {
			break
		}
		f.frames = f.frames[1:]
		f.run = min(f.run+int64(max(frame.Size, 0)), f.left)
		f.due = due
		if f.run > 0 && (len(f.frames) == 0 || later(due)) {
			break
		}
	}
	if f.run == 0 {
		f.run = f.left
	}
}
