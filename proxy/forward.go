package proxy

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/elazarl/goproxy"
	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// forward is the explicit proxy's door. goproxy owns it: it tells proxy
// requests from others, and runs the handlers for CONNECT and for absolute-form
// requests; those handlers hand the exchange, or the connection, on to the
// pipeline.
type forward struct {
	proxy *goproxy.ProxyHttpServer
	ca    []byte
}

// ServeForward serves ln as an explicit HTTP proxy: absolute-form requests, and
// CONNECT with interception. It returns when ctx has ended and all its
// connections have; ln is closed then.
func (s *Server) ServeForward(ctx context.Context, ln net.Listener) error {
	f := &forward{proxy: goproxy.NewProxyHttpServer(), ca: s.CACert}
	f.proxy.Logger = printf{s.Log}
	f.proxy.NonproxyHandler = http.HandlerFunc(f.notProxy)
	f.proxy.OnRequest().DoFunc(handExchange)
	f.proxy.OnRequest().HandleConnectFunc(takeConnect)
	return s.serve(ctx, ln, &site{name: "forward http://" + ln.Addr().String(), forward: f})
}

// call is a request at the door, on its way through goproxy's handlers. It is
// the http.ResponseWriter that goproxy sees.
type call struct {
	ctx     context.Context // of this one request; goproxy's handlers take none
	w       wire.ResponseWriter
	r       *wire.Request
	s       *session
	header  http.Header
	handed  bool // the pipeline has answered; what goproxy still writes is dropped
	started bool
}

type callKey struct{}

// serve takes a request through goproxy.
func (f *forward) serve(ctx context.Context, w wire.ResponseWriter, r *wire.Request, s *session) {
	c := &call{ctx: ctx, w: w, r: r, s: s, header: http.Header{}}
	f.proxy.ServeHTTP(c, doorRequest(r).WithContext(context.WithValue(ctx, callKey{}, c)))
	c.end()
}

// doorRequest is as much of r as goproxy's handlers look at. The body stays
// where it is.
func doorRequest(r *wire.Request) *http.Request {
	hr := &http.Request{
		Method: r.Method, Host: r.Host, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody,
	}
	if r.Method == http.MethodConnect {
		hr.URL, hr.RequestURI = &url.URL{Host: r.Host}, r.Host
		return hr
	}
	path, query := fixtures.SplitTarget(r.Target)
	hr.URL, hr.RequestURI = &url.URL{Path: path, RawQuery: query}, r.Target
	if r.Absolute {
		hr.URL.Scheme, hr.URL.Host = r.Scheme, r.Host
	}
	return hr
}

// handExchange hands an absolute-form request to the pipeline. The empty
// response that it returns keeps goproxy from sending one of its own.
func handExchange(hr *http.Request, _ *goproxy.ProxyCtx) (*http.Request, *http.Response) {
	c, ok := hr.Context().Value(callKey{}).(*call)
	if !ok {
		return hr, nil
	}
	c.handed = true
	c.s.exchange(c.ctx, c.w, c.r)
	return hr, &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: hr}
}

// takeConnect takes the connection over at a CONNECT.
func takeConnect(host string, pc *goproxy.ProxyCtx) (*goproxy.ConnectAction, string) {
	c, ok := pc.Req.Context().Value(callKey{}).(*call)
	if !ok {
		return goproxy.RejectConnect, host
	}
	return &goproxy.ConnectAction{
		Action: goproxy.ConnectHijack,
		Hijack: func(_ *http.Request, client net.Conn, _ *goproxy.ProxyCtx) { c.s.tunnelTo(c.s.life, client, host) },
	}, host
}

// notProxy answers a request that was sent to the door itself.
func (f *forward) notProxy(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ca.pem" && f.ca != nil {
		w.Header().Set("Content-Type", "application/x-pem-file")
		w.Header().Set("Content-Length", strconv.Itoa(len(f.ca)))
		_, _ = w.Write(f.ca) // nobody is left to tell
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Understudy-Error", "not a proxy request")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = fmt.Fprintf(w, "This is understudy's forward proxy. Send it proxy requests, for example\n\n"+
		"    curl -x http://%[1]s http://example.test/\n    HTTP_PROXY=http://%[1]s HTTPS_PROXY=http://%[1]s your-program\n\n"+
		"For a server that answers plain requests, start it with --reverse ADDR=URL. The CA's certificate is at /ca.pem.\n", r.Host)
}

// Header, WriteHeader, Write and Hijack make a call the http.ResponseWriter
// that goproxy and the door's own pages write to.
func (c *call) Header() http.Header { return c.header }

// WriteHeader starts an answer of the door itself.
func (c *call) WriteHeader(status int) {
	if c.handed || c.started {
		return
	}
	c.started = true
	c.s.used.Store(true)
	var h fixtures.Header
	for name, values := range c.header {
		for _, v := range values {
			h.Add(name, v)
		}
	}
	length, ok := contentLength(h)
	if !ok {
		length = -1
	}
	_ = c.w.WriteHead(&wire.Head{Status: status, Header: h, Length: length}) // Write tells
}

func (c *call) Write(p []byte) (int, error) {
	if c.handed {
		return len(p), nil
	}
	c.WriteHeader(http.StatusOK)
	return c.w.Write(p)
}

// Hijack hands the client's connection over.
func (c *call) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, err := c.w.Hijack()
	if err != nil {
		return nil, nil, err
	}
	c.handed = true
	return nc, bufio.NewReadWriter(bufio.NewReaderSize(nc, 16), bufio.NewWriterSize(nc, 16)), nil
}

// end finishes an answer of the door itself.
func (c *call) end() {
	if c.started && !c.handed {
		_ = c.w.Finish(nil)
	}
}

// printf is goproxy's logger.
type printf struct{ log *zap.Logger }

func (p printf) Printf(format string, v ...any) {
	if p.log == nil {
		return
	}
	if e := p.log.Check(zap.DebugLevel, "goproxy"); e != nil {
		e.Write(zap.String("text", strings.TrimSpace(fmt.Sprintf(format, v...))))
	}
}

var _ http.Hijacker = (*call)(nil)
