package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// run is how to measure.
type run struct {
	binary, engine, seed string
	seconds              int
	connectTo            string // upstream.connect_to, as JSON
}

// found is what a captured client found, and under which conditions.
type found struct {
	Connect  time.Duration // median
	Down, Up float64       // bits of payload per second
	Page     time.Duration
	Objects  int
	Bytes    int

	down, up conditions
}

// patience bounds one link's measurement.
const patience = 90 * time.Second

// serve starts the servers on this host's loopback: iperf3's, and one that has objects.
func (r *run) serve(ctx context.Context) (end func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: http.HandlerFunc(object)}
	go func() { _ = s.Serve(ln) }() // ends with Close
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	iperf := exec.CommandContext(ctx, "iperf3", "-s", "-B", "127.0.0.1", "-p", port, "--forceflush")
	out, err := iperf.StdoutPipe()
	if err == nil {
		err = iperf.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("iperf3 -s: %w", err)
	}
	// It says that it listens; what it says after that nobody needs.
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if bytes.Contains(lines.Bytes(), []byte("listening")) {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the server
	to, _ := json.Marshal(map[string]string{host + ":80": ln.Addr().String(), host + ":5201": "127.0.0.1:" + port})
	r.connectTo = string(to)
	return func() {
		_ = s.Close()
		_ = iperf.Process.Kill()
		_ = iperf.Wait()
	}, nil
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	return port, err
}

// object answers with as many bytes as the path says.
func object(w http.ResponseWriter, req *http.Request) {
	n, err := strconv.Atoi(req.URL.Path[1:])
	if err != nil || n < 0 || n > 1<<20 {
		http.NotFound(w, req)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(n))
	_, _ = w.Write(make([]byte, n))
}

// one measures a link.
func (r *run) one(ctx context.Context, spec string) (*found, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f := &found{}
	// What the link will be is known before: a run that ends at once tells it.
	said, _, err := r.understudy(ctx, spec, "true")
	if err != nil {
		return nil, err
	}
	f.read(said)
	_, out, err := r.understudy(ctx, spec, append([]string{self, strconv.Itoa(int(f.down.rate))}, r.iperf(f)...)...)
	if err != nil {
		return nil, err
	}
	return f, json.Unmarshal(out, f)
}

const (
	warmUp   = 5  // round trips, a second at least, that iperf3 leaves out
	measured = 10 // round trips at least
	slow     = 50e6
)

// iperf are its arguments for a link: long enough for some losses where they bound it, in
// blocks that are small against what comes in that time.
func (r *run) iperf(f *found) []string {
	rtt := f.down.delay + f.up.delay
	whole := func(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
	seconds, block := max(r.seconds, whole(measured*rtt)), "128K"
	if f.down.rate == 0 && f.down.loss > 0 {
		seconds *= 2
	}
	if least := min(f.down.rate, f.up.rate); least > 0 && least < slow || f.down.loss > 0 {
		block = "4K"
	}
	omit := max(1, int((warmUp*rtt+time.Second-1)/time.Second))
	return []string{"-t", strconv.Itoa(seconds), "-O", strconv.Itoa(omit), "-l", block}
}

// understudy runs a command behind a link; said is what understudy told, out what the
// command did.
func (r *run) understudy(ctx context.Context, spec string, command ...string) (said, out []byte, err error) {
	args := []string{"proxy", "--admin", "off", "--json", "--seed", r.seed, "--set", "upstream.connect_to=" + r.connectTo}
	if spec != "" {
		args = append(args, "--link", spec, "--link-engine", r.engine)
	}
	cmd := exec.CommandContext(ctx, r.binary, append(append(args, "--"), command...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), role+"=client")
	var talk bytes.Buffer
	cmd.Stderr = &talk
	out, err = cmd.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s", err, talk.Bytes())
	}
	return talk.Bytes(), out, nil
}

// read takes the conditions from the event that tells of them.
func (f *found) read(said []byte) {
	for line := range bytes.Lines(said) {
		var e struct {
			Event    string
			Down, Up struct{ Conditions string }
		}
		if json.Unmarshal(line, &e) == nil && e.Event == "link" {
			f.down, f.up = parse(e.Down.Conditions), parse(e.Up.Conditions)
		}
	}
}
