package proxy

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// ServeWire takes one request from an engine to the pipeline, through the door's own
// handling of proxy requests.
func (s *session) ServeWire(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
	defer func() {
		if p := recover(); p != nil { // an engine may run us on a goroutine of its own
			s.log.Error("panic in a request", zap.Any("panic", p), zap.Stack("stack"), zap.String("door", s.name))
			_ = w.Break(wire.Break{Kind: wire.Abort}) // fails where it has ended
		}
	}()
	switch {
	case s.loop:
		s.used.Store(true)
		refuse(w, problem(http.StatusLoopDetected, "the door leads to itself",
			fmt.Sprintf("%s stands before %s, which is one of understudy's own listeners", s.name, s.to), nil))
	case s.forward != nil && s.conn.Host == "":
		s.forward.serve(ctx, w, r, s)
	default:
		s.exchange(ctx, w, r)
	}
}

// exchange completes a request's address and hands it to the pipeline.
func (s *session) exchange(ctx context.Context, w wire.ResponseWriter, r *wire.Request) {
	s.used.Store(true)
	if r.Method == http.MethodConnect {
		refuse(w, problem(http.StatusNotImplemented, "no CONNECT here",
			"a tunnel was asked for where HTTP requests are expected: CONNECT is for a forward door", nil))
		return
	}
	switch {
	case s.to != nil:
		r.Scheme, r.Host = s.to.Scheme, s.to.Host
		if r.Target != "*" {
			r.Target = strings.TrimSuffix(s.to.EscapedPath(), "/") + r.Target
		}
	case s.conn.Host != "":
		s.inTunnel(r)
	}
	if s.first.Load() == nil {
		host := r.Host
		s.first.CompareAndSwap(nil, &host)
	}
	s.Pipeline.Serve(ctx, w, r, &s.conn)
}

// inTunnel addresses a request that came through a tunnel: it goes where the
// tunnel leads, whatever host it names.
func (s *session) inTunnel(r *wire.Request) {
	r.Scheme = "http"
	if s.conn.TLS != nil {
		r.Scheme = "https"
	}
	if r.Host == "" {
		r.Host = s.conn.Host
	}
	if strings.EqualFold(authority(r.Scheme, r.Host), s.conn.Host) {
		return
	}
	r.Addr, r.ServerName = s.conn.Host, hostname(s.conn.Host)
	if s.conn.TLS != nil && s.conn.TLS.ServerName != "" {
		r.ServerName = s.conn.TLS.ServerName
	}
}

// refuse answers with words of our own, outside the pipeline.
func refuse(w wire.ResponseWriter, f *fixtures.Fault) {
	if err := w.WriteHead(&wire.Head{Status: f.Status, Header: f.Header, Length: int64(len(f.Body))}); err != nil {
		return
	}
	if _, err := w.Write(f.Body); err != nil {
		return
	}
	_ = w.Finish(nil) // nobody is left to tell
}
