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
	"strconv"
	"sync"
)

// UpstreamOptions describe the answer that the upstream gives to everything.
type UpstreamOptions struct {
	BodySize int // bytes of JSON; default 1024
	// CertFile and KeyFile, PEM, make it speak TLS; "" for plain HTTP.
	CertFile string
	KeyFile  string
	// Ready is told the address once it listens; nil for nobody.
	Ready func(addr net.Addr) `json:"-"`
}

// ServeUpstream answers HTTP/1.1 on addr with as little work as there is, until
// ctx ends; it then returns nil once its connections are closed. It is made for
// the gate's load: it reads requests well enough to answer them, and checks nothing.
func ServeUpstream(ctx context.Context, addr string, o UpstreamOptions) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("serve upstream: %w", err)
	}
	if o.CertFile != "" || o.KeyFile != "" {
		cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			ln.Close()
			return fmt.Errorf("serve upstream: %w", err)
		}
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}})
	}
	if o.Ready != nil {
		o.Ready(ln.Addr())
	}
	answer := makeAnswer(o.BodySize)
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			ln.Close()
			return fmt.Errorf("serve upstream: %w", err)
		}
		wg.Go(func() { // ends with the connection, or with ctx
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			serveConn(c, answer)
		})
	}
}

// makeAnswer builds head and body, so that each answer is one write.
func makeAnswer(size int) []byte {
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
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", size, body)
}

// serveConn answers each request on c until it ends or is not understood.
func serveConn(c net.Conn, answer []byte) {
	r := bufio.NewReaderSize(c, 4<<10)
	for {
		length, last := int64(0), false
		for first := true; ; first = false {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			line = bytes.TrimRight(line, "\r\n")
			if len(line) == 0 && !first {
				break
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
		if _, err := c.Write(answer); err != nil || last {
			return
		}
	}
}

// Upstream is an upstream that runs.
type Upstream struct {
	URL    string
	CAFile string       // roots for an https URL; "" for the system's
	Stop   func() error // ends it and waits for its end; to be called once
}

// InProcessUpstream starts ServeUpstream on a free loopback port, in this
// process. Its work is then this process's: CommandUpstream keeps it apart.
func InProcessUpstream(ctx context.Context) (*Upstream, error) {
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan net.Addr, 1)
	done := make(chan error, 1)
	go func() { // owned by Stop
		done <- ServeUpstream(ctx, "127.0.0.1:0", UpstreamOptions{Ready: func(a net.Addr) { ready <- a }})
	}()
	select {
	case addr := <-ready:
		return &Upstream{URL: "http://" + addr.String(), Stop: func() error { cancel(); return <-done }}, nil
	case err := <-done:
		cancel()
		return nil, errors.Join(err, ctx.Err())
	}
}
