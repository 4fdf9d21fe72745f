package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

// again is a connection on which a request was answered already: from the second on
// they are served within a read of it.
func again(g *rig) (*net.TCPConn, *bufio.Reader) {
	g.t.Helper()
	nc := g.dial()
	br := bufio.NewReader(nc)
	if _, err := io.WriteString(nc, getSlash); err != nil {
		g.t.Fatal(err)
	}
	resp, err := http.ReadResponse(br, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return nc, br
}

const getSecond = "GET /second HTTP/1.1\r\nHost: x\r\n\r\n"

func TestKeptBreaksOffAfterGrace(t *testing.T) {
	begun := make(chan struct{})
	to := origin(t, "h1", func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/second" {
			close(begun)
			<-r.Context().Done() // the upstream is told
		}
	})
	g := newRig(t, to, tuneServer(func(s *Server) { s.Grace = time.Millisecond }))
	nc, br := again(g)
	_, _ = io.WriteString(nc, getSecond)
	<-begun
	g.stop()
	if b, err := br.ReadByte(); err == nil {
		t.Errorf("an answer came: %q", b)
	}
}

// A reset reaches the client while the rest of the answer is still read for the record.
func TestKeptResetAtOnce(t *testing.T) {
	seen := make(chan struct{})
	to := origin(t, "h1", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(flushing{w}, hello[:6])
		if r.URL.Path == "/second" {
			select {
			case <-seen:
			case <-r.Context().Done():
				t.Error("the client saw no reset until the rest was given up")
			}
		}
		_, _ = io.WriteString(w, hello[6:])
	})
	g := newRig(t, to, recording, planning(&planned{plan: func(x *Exchange) fixtures.Plan {
		if x.Request.Path() != "/second" {
			return fixtures.Plan{}
		}
		return fixtures.Plan{Fired: []string{"r"}, Fault: &fixtures.Fault{Kind: fixtures.FaultReset, Where: fixtures.WhereMidBody, AfterBytes: 3}}
	}}))
	nc, br := again(g)
	_, _ = io.WriteString(nc, getSecond)
	if _, err := io.Copy(io.Discard, br); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v, want a reset", err)
	}
	close(seen)
}

// A client that leaves while it waits for a later answer is noticed, and the upstream told.
func TestKeptClientLeaves(t *testing.T) {
	for name, leave := range map[string]func(nc *net.TCPConn){
		"half": func(nc *net.TCPConn) { _ = nc.CloseWrite() },
		"reset": func(nc *net.TCPConn) {
			_ = nc.SetLinger(0)
			_ = nc.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			begun, told := make(chan struct{}), make(chan struct{})
			to := origin(t, "h1", func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/second" {
					close(begun)
					<-r.Context().Done()
					close(told)
				}
			})
			g := newRig(t, to)
			nc, _ := again(g)
			_, _ = io.WriteString(nc, getSecond)
			<-begun
			leave(nc)
			<-told
			if x := g.books.exchange(t, 2); x.Outcome != fixtures.OutcomeClient {
				t.Errorf("outcome %q (%s), want %q", x.Outcome, x.Error, fixtures.OutcomeClient)
			}
		})
	}
}
