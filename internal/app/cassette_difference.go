package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
)

// explain reads two answers again and says where they begin to differ.
func explain(recording, replay *cassette.Cassette, a, b seen) (*AnswerDifference, error) {
	d := &AnswerDifference{Recording: a.id, Replay: b.id}
	if a.status != b.status {
		d.Where, d.Want, d.Got = "status", fmt.Sprint(a.status), fmt.Sprint(b.status)
		return d, nil
	}
	ra, err := openAnswer(recording, a.id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ra.Close() }()
	rb, err := openAnswer(replay, b.id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rb.Close() }()
	d.Where, d.Want, d.Got, err = firstDifference(ra, rb)
	return d, BadInput(err)
}

func openAnswer(c *cassette.Cassette, id uint64) (io.ReadCloser, error) {
	x, err := FindExchange(c, id)
	if err != nil {
		return nil, err
	}
	r, err := c.OpenBody(&x.Response.Body)
	return r, BadInput(err)
}

// firstDifference reads two bodies up to the first byte that differs. Want and got are
// what stands there, quoted and shortened.
func firstDifference(a, b io.Reader) (where, want, got string, err error) {
	ba, bb := bufio.NewReader(a), bufio.NewReader(b)
	for n := 0; ; n++ {
		ca, erra := ba.ReadByte()
		cb, errb := bb.ReadByte()
		enda, endb := errors.Is(erra, io.EOF), errors.Is(errb, io.EOF)
		switch {
		case erra != nil && !enda:
			return "", "", "", erra
		case errb != nil && !endb:
			return "", "", "", errb
		case enda && endb:
			return "", "", "", nil
		case enda || endb || ca != cb:
			return fmt.Sprintf("body byte %d", n), excerpt(ba, ca, enda), excerpt(bb, cb, endb), nil
		}
	}
}

// excerpt quotes a byte and some that follow it.
func excerpt(r *bufio.Reader, first byte, end bool) string {
	if end {
		return "the end"
	}
	rest, _ := r.Peek(23) // fewer at the end
	return fmt.Sprintf("%q", append([]byte{first}, rest...))
}
