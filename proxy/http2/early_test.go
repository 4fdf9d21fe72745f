package http2

import (
	"context"
	"io"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/understudy-proxy/understudy/proxy/wire"
)

// An answer may come before the request's body has. Clients that are told at once to stop
// sending lose it (curl 7.88 with exit 92): what is under way must have the time to come.
func TestEarlyAnswerLetsTheRequestEnd(t *testing.T) {
	r := dialRaw(t, listen(t, &Server{Handler: scenario(t)}, false))
	r.req(1, false, "/204")
	if got := r.outcome(1); got != "204" {
		t.Fatalf("early answer = %s, want 204", got)
	}
	r.ok(r.fr.WriteData(1, false, []byte("late")))
	r.ok(r.fr.WriteData(1, true, []byte("and the end")))
	r.req(3, true, "/204")
	for {
		f, err := r.next()
		if err != nil {
			t.Fatalf("after the early answer: %v", err)
		}
		if h, ok := f.(*xhttp2.MetaHeadersFrame); ok && h.StreamID == 3 {
			return
		}
		t.Fatalf("after the early answer came %v, want nothing but stream 3's", f)
	}
}

// One that does not end is told to.
func TestEarlyAnswerStopsAnEndlessRequest(t *testing.T) {
	r := dialRaw(t, listen(t, &Server{Handler: scenario(t)}, false))
	r.req(1, false, "/204")
	if got := r.outcome(1); got != "204" {
		t.Fatalf("early answer = %s, want 204", got)
	}
	if got := r.outcome(1); got != "RST NO_ERROR" {
		t.Errorf("then = %s, want RST NO_ERROR", got)
	}
	r.req(3, true, "/204")
	if got := r.outcome(3); got != "204" {
		t.Errorf("next request = %s, want 204", got)
	}
}

// Who reads on after the answer, as a recording does, gets all that comes.
func TestEarlyAnswerIsNotTheBodysEnd(t *testing.T) {
	r := dialRaw(t, listen(t, &Server{Handler: scenario(t)}, false))
	r.req(1, false, "/afterwards")
	if got := r.outcome(1); got != "200" {
		t.Fatalf("early answer = %s, want 200", got)
	}
	r.ok(r.fr.WriteData(1, false, []byte("late ")))
	r.ok(r.fr.WriteData(1, true, []byte("and the end")))
	r.req(3, true, "/204")
	if got := r.outcome(3); got != "204" {
		t.Errorf("next request = %s, want 204", got)
	}
}

// A reader that outlives its handler is told that it did not get the body whole,
// though its end has come.
func TestBodyThatNobodyReadHasNoEnd(t *testing.T) {
	bodies := make(chan io.Reader, 1)
	h := wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
		if r.Body != nil {
			bodies <- r.Body
		}
		err := w.WriteHead(&wire.Head{Status: 204})
		if err == nil {
			err = w.Finish(nil)
		}
		if err != nil && ctx.Err() == nil { // the test is over as soon as it has the answer
			t.Error(err)
		}
	})
	r := dialRaw(t, listen(t, &Server{Handler: h}, false))
	r.req(1, false, "/")
	if got := r.outcome(1); got != "204" {
		t.Fatalf("early answer = %s, want 204", got)
	}
	r.ok(r.fr.WriteData(1, true, []byte("late")))
	r.req(3, true, "/") // its answer tells that what came before was taken
	if got := r.outcome(3); got != "204" {
		t.Fatalf("next request = %s, want 204", got)
	}
	// Where the handler has yet to return, though its answer is out, it is not too late.
	if got, err := io.ReadAll(<-bodies); err == nil && string(got) != "late" {
		t.Errorf("a reader that was too late got %q as the whole body, want an error", got)
	}
}

// A client that has got all bytes of an announced length may leave before it is told that
// these were all: the exchange is whole.
func TestLeavingWithAllBytesIsNoFailure(t *testing.T) {
	finished := make(chan error, 1)
	h := wire.HandlerFunc(func(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
		if err := w.WriteHead(&wire.Head{Status: 200, Length: 4}); err != nil {
			t.Error(err)
		}
		part := "here"
		if r.Target == "/part" {
			part = "her"
		}
		if _, err := io.WriteString(w, part); err != nil {
			t.Error(err)
		}
		_ = w.Flush() // as another stream's write may do, and may have done: then the client can be gone
		<-ctx.Done()
		finished <- w.Finish(nil)
	})
	r := dialRaw(t, listen(t, &Server{Handler: h}, false))
	for i, target := range []string{"/whole", "/part"} {
		id := uint32(2*i + 1)
		r.req(id, true, target)
		for {
			f, err := r.next()
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := f.(*xhttp2.DataFrame); ok {
				break
			}
		}
		r.ok(r.fr.WriteRSTStream(id, xhttp2.ErrCodeCancel))
		if err := <-finished; (err == nil) != (target == "/whole") {
			t.Errorf("the end of %s = %v, want an error for what came in part alone", target, err)
		}
	}
}
