package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// heard is one request as an upstream understood it.
type heard struct{ method, target, host, body string }

// verdict is what a peer made of a message.
type verdict struct {
	whole    []heard  // requests that reached the upstream with their whole body
	partly   int      // those of which no more than a part came
	raw      []string // the bytes of each whole request, as the upstream got them
	trouble  []string // what an upstream got that is not exactly one request
	statuses []int    // final ones, as the client got them
	hung     bool     // it waited for more
}

// accepted reports whether a request of the message's own was passed on.
func (v *verdict) accepted() bool { return len(v.whole) > 0 && v.whole[0].target != "/end" }

// refused reports whether the peer ended the connection of itself instead.
func (v *verdict) refused() bool { return !v.accepted() && !v.hung }

// sequence is how the peer read the connection: each request's method and body.
func (v *verdict) sequence() []string {
	var s []string
	for _, h := range v.whole {
		s = append(s, fmt.Sprintf("%s %s", h.method, text([]byte(h.body))))
	}
	return s
}

// arrival is what came on one connection.
type arrival struct {
	heard
	raw     string
	came    bool // there was something
	whole   bool
	trouble string
	ended   bool // under capture's lock; the rest is serve's until then
}

// capture is an upstream that keeps what comes, one request a connection.
type capture struct {
	ln net.Listener

	open gauge
	mark chan struct{} // told of take's own connection

	mu  sync.Mutex
	got []*arrival // in the order of accepting
}

// gauge counts what is under way. Unlike a WaitGroup it may begin anew while somebody waits.
type gauge struct {
	mu   sync.Mutex
	n    int
	zero chan struct{} // closed when n comes to 0; nil when nobody waits
}

func (g *gauge) add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n += n; g.n == 0 && g.zero != nil {
		close(g.zero)
		g.zero = nil
	}
}

func (g *gauge) wait() {
	g.mu.Lock()
	if g.n == 0 {
		g.mu.Unlock()
		return
	}
	if g.zero == nil {
		g.zero = make(chan struct{})
	}
	zero := g.zero
	g.mu.Unlock()
	<-zero
}

func newCapture(t *testing.T) *capture {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &capture{ln: ln, mark: make(chan struct{})}
	done := make(chan struct{})
	go func() { // ends when the listener is closed
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			r := &arrival{}
			c.note(func() { c.got = append(c.got, r) })
			c.open.add(1)
			go func() {
				defer c.open.add(-1)
				c.serve(nc, r)
				c.note(func() { r.ended = true })
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
		c.open.wait()
	})
	return c
}

func (c *capture) port() int { return c.ln.Addr().(*net.TCPAddr).Port }

// serve fills in what came on a connection.
func (c *capture) serve(nc net.Conn, r *arrival) {
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	var raw bytes.Buffer
	br := bufio.NewReader(io.TeeReader(nc, &raw))
	first, err := br.Peek(1)
	if err != nil {
		return // opened and not used
	}
	if first[0] == asker {
		c.mark <- struct{}{}
		return
	}
	r.came = true
	request, err := http.ReadRequest(br)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return
	case err != nil:
		r.trouble = fmt.Sprintf("malformed: %v: %s", err, text(raw.Bytes()))
		io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	if request.Header.Get("Expect") != "" {
		io.WriteString(nc, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	// The peer closes, as it was told to. Whatever it sends before that is a second
	// message that it does not know of.
	rest, _ := io.ReadAll(br)
	if len(rest) > 0 {
		r.trouble = fmt.Sprintf("after the request: %s", text(rest))
	}
	r.whole, r.raw = true, raw.String()[:raw.Len()-len(rest)]
	r.heard = heard{request.Method, request.RequestURI, request.Host, string(body)}
}

func (c *capture) note(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// asker is the first byte of take's own connections; no request begins with it.
const asker = 0

// take returns what has come, once nothing more is under way: connections are
// accepted in their order, and each ends.
func (c *capture) take() (verdict, error) {
	nc, err := net.Dial("tcp", c.ln.Addr().String())
	if err != nil {
		return verdict{}, err
	}
	defer nc.Close()
	if _, err := nc.Write([]byte{asker}); err != nil {
		return verdict{}, err
	}
	<-c.mark
	c.open.wait()
	var v verdict
	c.note(func() {
		var later []*arrival
		for _, r := range c.got {
			switch {
			case !r.ended:
				later = append(later, r)
				continue
			case r.whole:
				v.whole, v.raw = append(v.whole, r.heard), append(v.raw, r.raw)
			case r.came:
				v.partly++
			}
			if r.trouble != "" {
				v.trouble = append(v.trouble, r.trouble)
			}
		}
		c.got = later
	})
	return v, nil
}

// desk is one peer's place for one message at a time: a door, and what is behind it.
type desk struct {
	network, door string
	take          func() (verdict, error)
}

// sentinel ends each message's connection, whatever the peer took the message for.
const sentinel = "GET /end HTTP/1.1\r\nHost: end.test\r\nConnection: close\r\n\r\n"

var statusPattern = regexp.MustCompile(`HTTP/1\.[01] ([2-5]\d\d)[ \r]`)

// judge sends a message, then a request that closes the connection.
func (d *desk) judge(message string) (verdict, error) {
	nc, err := net.Dial(d.network, d.door)
	if err != nil {
		return verdict{}, err
	}
	defer nc.Close()
	wrote := make(chan struct{})
	go func() { // ends at the latest when nc is closed
		defer close(wrote)
		io.WriteString(nc, message+sentinel) // may be refused before it is all sent
	}()
	var back bytes.Buffer
	hung := false
	for part := make([]byte, 4096); ; {
		// Nothing for so long: the peer takes the sentinel for a part of the message, and waits for
		// the rest. It is told that there is none.
		nc.SetReadDeadline(time.Now().Add(3 * time.Second))
		n, err := nc.Read(part)
		back.Write(part[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) && !hung {
			hung = true
			nc.(interface{ CloseWrite() error }).CloseWrite()
			continue
		}
		if err != nil {
			break // the end, or a peer that stays: then closing is the end
		}
	}
	nc.Close()
	<-wrote
	v, err := d.take()
	v.hung = hung
	for _, m := range statusPattern.FindAllStringSubmatch(back.String(), -1) {
		n, _ := strconv.Atoi(m[1])
		v.statuses = append(v.statuses, n)
	}
	return v, err
}

// nginxDesks starts an nginx with n doors.
func (s *stage) nginxDesks(t *testing.T, n int) []*desk {
	t.Helper()
	program := need(t, "nginx")[0]
	dir := shortDir(t)
	var servers strings.Builder
	desks := make([]*desk, n)
	for i := range desks {
		up := newCapture(t)
		desks[i] = &desk{network: "unix", door: filepath.Join(dir, strconv.Itoa(i)), take: up.take}
		fmt.Fprintf(&servers, "server { listen unix:%s; location / { proxy_pass http://127.0.0.1:%d; } }\n", desks[i].door, up.port())
	}
	conf := strings.NewReplacer("DIR", dir, "SERVERS", servers.String()).Replace(`
daemon off; master_process off; pid DIR/nginx.pid; error_log /dev/null;
events { worker_connections 4096; }
http {
  access_log off; client_max_body_size 0;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header Connection ""; proxy_next_upstream off;
  lingering_close off;
SERVERS}`)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	startPeer(t, desks, exec.Command(program, "-p", dir, "-e", "/dev/null", "-c", file))
	return desks
}

// haproxyDesks starts an HAProxy with n doors.
func (s *stage) haproxyDesks(t *testing.T, n int) []*desk {
	t.Helper()
	program := need(t, "haproxy")[0]
	dir := shortDir(t)
	var conf strings.Builder
	conf.WriteString("global\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 10s\n  timeout client 10s\n  timeout server 10s\n  retries 0\n")
	desks := make([]*desk, n)
	for i := range desks {
		up := newCapture(t)
		desks[i] = &desk{network: "unix", door: filepath.Join(dir, strconv.Itoa(i)), take: up.take}
		fmt.Fprintf(&conf, "listen l%d\n  bind unix@%s\n  server s 127.0.0.1:%d\n", i, desks[i].door, up.port())
	}
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	startPeer(t, desks, exec.Command(program, "-db", "-q", "-f", file))
	return desks
}

// shortDir is a directory whose path leaves room for a Unix socket's name: at
// such doors no other program can be met, as at a port that was free a moment ago.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "differ")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// startPeer starts a peer's process, to be ended with the test, and waits for its doors.
func startPeer(t *testing.T, desks []*desk, cmd *exec.Cmd) {
	t.Helper()
	tr := &troupe{}
	t.Cleanup(tr.stop)
	tr.run(t, cmd)
	deadline := time.Now().Add(20 * time.Second)
	for _, d := range desks {
		for {
			nc, err := net.Dial(d.network, d.door)
			if err == nil {
				nc.Close()
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s does not serve: %v", cmd.Path, err)
			}
			<-time.After(5 * time.Millisecond)
		}
	}
}

// understudyDesks starts understudy with n reverse doors.
func (s *stage) understudyDesks(t *testing.T, n int) []*desk {
	t.Helper()
	args := []string{"proxy", "--admin", "off"}
	ups := make([]*capture, n)
	for i := range ups {
		ups[i] = newCapture(t)
		args = append(args, "--reverse", fmt.Sprintf("127.0.0.1:0=http://127.0.0.1:%d", ups[i].port()))
	}
	a := s.start(t, args...)
	desks := make([]*desk, n)
	for i, up := range ups {
		door := a.address(t, "reverse", fmt.Sprintf("http://127.0.0.1:%d", up.port()))
		desks[i] = &desk{network: "tcp", door: strings.TrimPrefix(door, "http://"), take: up.take}
	}
	t.Cleanup(func() {
		if code := a.stop(t); code != 0 || strings.Contains(a.stderr.String(), "panic") {
			t.Errorf("understudy: exit %d:\n%.3000s", code, a.stderr.String())
		}
	})
	return desks
}

// netHTTPDesks are n servers of net/http.
func netHTTPDesks(t *testing.T, n int) []*desk {
	t.Helper()
	desks := make([]*desk, n)
	for i := range desks {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var open gauge
		var mu sync.Mutex
		var got verdict
		server := &http.Server{
			ErrorLog: log.New(io.Discard, "", 0),
			ConnState: func(_ net.Conn, to http.ConnState) {
				switch to {
				case http.StateNew:
					open.add(1)
				case http.StateClosed:
					open.add(-1)
				}
			},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					got.partly++
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				got.whole = append(got.whole, heard{r.Method, r.RequestURI, r.Host, string(body)})
			}),
		}
		done := make(chan struct{})
		go func() { // ends when the server is closed
			defer close(done)
			server.Serve(ln)
		}()
		t.Cleanup(func() {
			server.Close()
			<-done
		})
		desks[i] = &desk{network: "tcp", door: ln.Addr().String(), take: func() (verdict, error) {
			open.wait()
			mu.Lock()
			defer mu.Unlock()
			v := got
			got = verdict{}
			return v, nil
		}}
	}
	return desks
}
