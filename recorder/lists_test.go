package recorder

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

// listed is an exchange with n%100 elements in its arrays, more or less: that many are
// kept to be used again, and more are not.
func listed(n int) *fixtures.Exchange {
	x := sample(n)
	for i, h := range []*fixtures.Header{&x.Request.Header, &x.Request.Trailer, &x.Response.Header, &x.Response.Trailer} {
		*h = nil
		for j := range (n + i) % 100 {
			h.Add(fmt.Sprintf("X-%d-%d", i, j), fmt.Sprint(n))
		}
	}
	for _, b := range []*fixtures.Body{&x.Request.Body, &x.Response.Body} {
		for j := range n % 100 {
			b.Frames = append(b.Frames, fixtures.Frame{At: time.Duration(n + j), Size: 1})
		}
	}
	return x
}

// The traffic uses an exchange's arrays again as soon as Done has returned, and the
// recorder uses its own again once a line is written.
func TestDoneLetsGoOfArrays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &memory{}
		r, stop := start(t, d, Options{})
		const each = 150
		for n := range 2 * each {
			if n == each { // what these had is used again from here
				time.Sleep(time.Second)
			}
			x := listed(n)
			body := bytes.Repeat([]byte("a"), n%100)
			tape := r.Begin(x)
			tape.RequestBody(body)
			tape.ResponseBody(body)
			tape.Done(x)
			for _, h := range []fixtures.Header{x.Request.Header, x.Request.Trailer, x.Response.Header, x.Response.Trailer} {
				clear(h)
			}
			clear(x.Request.Body.Frames)
			clear(x.Response.Body.Frames)
			*x = fixtures.Exchange{}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		got := d.exchanges(t)
		if len(got) != 2*each {
			t.Fatalf("exchanges = %d, want %d", len(got), 2*each)
		}
		slices.SortFunc(got, func(a, b fixtures.Exchange) int { return a.At.Compare(b.At) })
		for n, g := range got {
			want := listed(n)
			want.ID = g.ID // the recorder's own where it was 0
			for _, b := range []*fixtures.Body{&want.Request.Body, &want.Response.Body} {
				if size := n % 100; size > 0 {
					b.Bytes, b.Size = bytes.Repeat([]byte("a"), size), int64(size)
				}
			}
			if !reflect.DeepEqual(&g, want) {
				t.Fatalf("exchange %d = %+v, want %+v", n, &g, want)
			}
		}
		wantEmpty(t, r)
	})
}
