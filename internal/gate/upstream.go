package gate

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// UpstreamOptions describe the answer that the upstream gives to everything.
type UpstreamOptions struct {
	BodySize int // bytes of JSON; default 1024
	// Ready is told the addresses once it listens; nil for nobody.
	Ready func(at UpstreamAddresses)
}

// UpstreamAddresses are where an upstream listens.
type UpstreamAddresses struct {
	Plain string `json:"plain"` // HTTP/1.1
	TLS   string `json:"tls"`   // HTTP/1.1 only
	HTTP2 string `json:"http2"` // TLS, HTTP/2 only
	Roots string `json:"roots"` // its certificate in PEM
}

// The upstream answers a path that begins with StreamPath with server-sent
// events: StreamEvents of them, one every StreamEvery.
const (
	StreamPath   = "/stream"
	StreamEvents = 20
	StreamEvery  = time.Millisecond
)

// The upstream answers a path that begins with LargePath with a body of LargeSize
// bytes.
const (
	LargePath = "/large"
	LargeSize = 256 << 10
)

// StreamEvent is the n-th event of a stream, as it goes over the wire.
func StreamEvent(n int) []byte {
	return fmt.Appendf(nil, "event: tick\ndata: {\"n\":%02d,\"fill\":\"xxxxxxxxxxxxxxxxxxxxxxxx\"}\n\n", n)
}

// ServeUpstream answers on three ports of host with as little work as there is,
// until ctx ends; it then returns nil once its connections are closed. It is made
// for the gate's load: it reads requests well enough to answer them, and checks
// nothing. Its HTTP/2 is golang.org/x/net's.
func ServeUpstream(ctx context.Context, host string, o UpstreamOptions) error {
	cert, roots, err := selfSigned()
	if err != nil {
		return fmt.Errorf("serve upstream: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := makeAnswers(o.BodySize)
	doors := []func(net.Conn){
		answers.serve,
		func(c net.Conn) { answers.serve(tls.Server(c, offering(cert, "http/1.1"))) },
		func(c net.Conn) { answers.serve2(tls.Server(c, offering(cert, "h2"))) },
	}
	var addresses [3]string
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	ended := make(chan error, len(doors))
	for i, serve := range doors {
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return fmt.Errorf("serve upstream: %w", err)
		}
		addresses[i] = ln.Addr().String()
		wg.Go(func() { ended <- accept(ctx, ln, serve) }) // ends with ctx
	}
	if o.Ready != nil {
		o.Ready(UpstreamAddresses{addresses[0], addresses[1], addresses[2], roots})
	}
	if err := <-ended; err != nil {
		return fmt.Errorf("serve upstream: %w", err)
	}
	return nil
}

// accept serves ln until ctx ends, and returns once all has ended.
func accept(ctx context.Context, ln net.Listener, serve func(net.Conn)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer ln.Close()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wg.Go(func() { // ends with the connection, or with ctx
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			serve(c)
		})
	}
}

// answers are what the upstream says.
type answers struct {
	whole []byte // head and body, so that each answer is one write
	body  []byte
	large []byte // as whole, of LargeSize
}

func makeAnswers(size int) *answers {
	if size <= 0 {
		size = 1024
	}
	body := make([]byte, 0, size)
	const open, end = `{"fill":"`, `"}`
	if size >= len(open)+len(end) {
		body = append(body, open...)
		body = append(body, bytes.Repeat([]byte("x"), size-len(open)-len(end))...)
		body = append(body, end...)
	} else {
		body = append(body, bytes.Repeat([]byte("1"), size)...) // a number is JSON, too
	}
	return &answers{whole: answerOf(body), body: body, large: answerOf(bytes.Repeat([]byte("1"), LargeSize))}
}

// answerOf is an answer with its head.
func answerOf(body []byte) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// serve answers each HTTP/1.1 request on c until it ends or is not understood.
func (a *answers) serve(c net.Conn) {
	r := bufio.NewReaderSize(c, 4<<10)
	for {
		length, last, answer := int64(0), false, a.answer
		for first := true; ; first = false {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			line = bytes.TrimRight(line, "\r\n")
			if len(line) == 0 && !first {
				break
			}
			if first {
				_, target, _ := bytes.Cut(line, []byte(" "))
				switch {
				case bytes.HasPrefix(target, []byte(StreamPath)):
					answer = a.stream
				case bytes.HasPrefix(target, []byte(LargePath)):
					answer = a.answerLarge
				}
				continue
			}
			name, value, _ := bytes.Cut(line, []byte(":"))
			value = bytes.TrimSpace(value)
			switch {
			case bytes.EqualFold(name, []byte("Content-Length")):
				if length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
					return
				}
			case bytes.EqualFold(name, []byte("Transfer-Encoding")):
				return // the gate's load sends none
			case bytes.EqualFold(name, []byte("Connection")):
				last = last || bytes.EqualFold(value, []byte("close"))
			}
		}
		if _, err := io.CopyN(io.Discard, r, length); err != nil {
			return
		}
		if err := answer(c); err != nil || last {
			return
		}
	}
}

func (a *answers) answer(c net.Conn) error {
	_, err := c.Write(a.whole)
	return err
}

func (a *answers) answerLarge(c net.Conn) error {
	_, err := c.Write(a.large)
	return err
}

// stream sends the events at their times, which lateness does not shift.
func (a *answers) stream(c net.Conn) error {
	start := time.Now()
	out := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	for n := range StreamEvents {
		event := StreamEvent(n)
		out = fmt.Appendf(out, "%x\r\n%s\r\n", len(event), event)
		if n == StreamEvents-1 {
			out = append(out, "0\r\n\r\n"...)
		}
		sleepUntil(start.Add(time.Duration(n) * StreamEvery))
		if _, err := c.Write(out); err != nil {
			return err
		}
		out = out[:0]
	}
	return nil
}

// serve2 answers each HTTP/2 request on c.
func (a *answers) serve2(c *tls.Conn) {
	if c.Handshake() != nil {
		return
	}
	large := a.large[len(a.large)-LargeSize:]
	length, largeLength := strconv.Itoa(len(a.body)), strconv.Itoa(LargeSize)
	new(http2.Server).ServeConn(c, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		length, body := length, a.body
		if strings.HasPrefix(r.URL.Path, LargePath) {
			length, body = largeLength, large
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", length)
		_, _ = w.Write(body) // the client's end is its own
	})})
}

// Upstream is an upstream that runs. The zero value but for Stop is none: ways
// that need none can be measured with it.
type Upstream struct {
	URL   string       // plain HTTP/1.1
	TLS   string       // https, HTTP/1.1
	HTTP2 string       // https, HTTP/2
	Roots string       // roots in PEM for the https URLs
	Stop  func() error // ends it and waits for its end; to be called once
}

func upstreamAt(at UpstreamAddresses, stop func() error) *Upstream {
	return &Upstream{URL: "http://" + at.Plain, TLS: "https://" + at.TLS, HTTP2: "https://" + at.HTTP2, Roots: at.Roots, Stop: stop}
}

// NoUpstream starts none, for scenarios that know where to go.
func NoUpstream(context.Context) (*Upstream, error) {
	return &Upstream{Stop: func() error { return nil }}, nil
}

// InProcessUpstream starts ServeUpstream on free loopback ports, in this
// process. Its work is then this process's: CommandUpstream keeps it apart.
func InProcessUpstream(ctx context.Context) (*Upstream, error) {
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan UpstreamAddresses, 1)
	done := make(chan error, 1)
	go func() { // owned by Stop
		done <- ServeUpstream(ctx, "127.0.0.1", UpstreamOptions{Ready: func(at UpstreamAddresses) { ready <- at }})
	}()
	select {
	case at := <-ready:
		return upstreamAt(at, func() error { cancel(); return <-done }), nil
	case err := <-done:
		cancel()
		return nil, errors.Join(err, ctx.Err())
	}
}
