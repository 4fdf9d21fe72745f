package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// bodyRead is the most of a body that is read from upstream at a time.
const bodyRead = 64 << 10

// roundTrip asks the upstream.
func (v *visit) roundTrip(ctx context.Context) (*answer, error) {
	v.x.Source = "upstream"
	out := *v.r
	out.Header = endToEnd(v.r.Header, v.editsUpstream())
	out.Inform = func(status int, h fixtures.Header) {
		v.x.Response.Informational = append(v.x.Response.Informational,
			fixtures.Informational{At: time.Since(v.start), Status: status, Header: h})
		_ = v.w.Inform(status, endToEnd(h, nil))
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := v.cancelWhenGone(ctx, cancel)
	sent := time.Now()
	resp, err := v.p.o.Upstream.RoundTrip(ctx, &out)
	if err != nil {
		stop()
		cancel()
		v.upstream += time.Since(sent)
		return v.upstreamFailed(ctx, err)
	}
	t := &v.x.Times
	t.UpstreamConnect, t.UpstreamTLS, t.Reused = resp.Trace.Connect, resp.Trace.TLS, resp.Trace.Reused
	if !resp.Trace.SentAt.IsZero() {
		t.UpstreamSent = resp.Trace.SentAt.Sub(v.start)
	}
	t.FirstByte = resp.Trace.FirstAt.Sub(v.start)
	v.upstream += resp.Trace.FirstAt.Sub(sent)

	rec := &v.x.Response
	rec.Proto, rec.Status, rec.Reason, rec.Header = resp.Proto, resp.Status, resp.Reason, resp.Header
	rec.Body.Chunked = resp.Chunked
	a := &answer{
		head: wire.Head{
			Status: resp.Status, Reason: resp.Reason, Exact: resp.Proto != "HTTP/2.0",
			Header: resp.Header, Length: resp.Length, Chunked: resp.Chunked,
		},
		firstDue: resp.Trace.FirstAt,
		live:     true,
		trailer:  resp.Trailer,
		close: func() {
			stop()
			_ = resp.Body.Close()
			cancel()
		},
	}
	if resp.Switched != nil {
		a.close = func() {
			stop()
			_ = resp.Switched.Close()
			cancel()
		}
		defer a.close()
		return nil, v.switchProtocols(ctx, resp)
	}
	buf := make([]byte, 0)
	a.next = func() ([]byte, time.Time, error) {
		if len(buf) == 0 {
			buf = make([]byte, bufferFor(resp.Length))
		}
		before := time.Now()
		n, err := resp.Body.Read(buf)
		now := time.Now()
		v.upstream += now.Sub(before)
		if n > 0 {
			addFrame(&rec.Body, now.Sub(v.start), n)
			if v.tape != nil {
				v.tape.response(buf[:n])
			}
		}
		if err != nil {
			t.End = now.Sub(v.start)
			if !errors.Is(err, io.EOF) {
				rec.Body.CutShort = true
			} else if resp.Trailer != nil {
				rec.Trailer = resp.Trailer()
			}
		}
		return buf[:n], time.Time{}, err
	}
	return a, nil
}

// editsUpstream are the plan's edits, after one that makes the Host field name
// the upstream where the client knew it by another name, as behind a reverse door.
func (v *visit) editsUpstream() []fixtures.Edit {
	edits := v.x.Plan.EditRequest
	if host := v.r.Header.Get("Host"); host != "" && host != v.r.Host {
		edits = append([]fixtures.Edit{{Op: fixtures.EditSet, Name: "Host", Value: v.r.Host}}, edits...)
	}
	return edits
}

// bufferFor is a read buffer's size for a body of n bytes, -1 for unknown.
func bufferFor(n int64) int64 {
	if n < 0 || n > bodyRead {
		return bodyRead
	}
	return max(n, 1)
}

// cancelWhenGone ends the upstream's work when the client leaves, so that what
// it occupied there is freed as it would be without us in between.
func (v *visit) cancelWhenGone(ctx context.Context, cancel func()) (stop func()) {
	gone := v.watch()
	if gone == nil {
		return func() {}
	}
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() { // ends with stop, which every path of the round trip calls
		defer close(ended)
		select {
		case <-gone:
			cancel()
		case <-done:
		case <-ctx.Done():
		}
	}()
	stopped := false
	return func() {
		if !stopped {
			stopped = true
			close(done)
			<-ended
		}
	}
}

// upstreamFailed answers in the place of an upstream that did not.
func (v *visit) upstreamFailed(ctx context.Context, err error) (*answer, error) {
	if v.gone != nil {
		select {
		case <-v.gone:
			v.x.Outcome = fixtures.OutcomeClient
			_ = v.w.Break(wire.Break{Kind: wire.Abort})
			return nil, fmt.Errorf("client left while the upstream worked: %w", err)
		default:
		}
	}
	if v.body != nil {
		if rerr := v.body.failed(); rerr != nil {
			return nil, v.clientError(rerr)
		}
	}
	v.x.Outcome, v.x.Error = fixtures.OutcomeUpstream, err.Error()
	status := upstreamStatus(err)
	if ctx.Err() == nil {
		v.p.o.Log.Warn("upstream", zap.Error(err), zap.String("method", v.x.Request.Method), zap.String("host", v.x.Request.Host))
	}
	f := problem(status, "upstream "+v.x.Request.Host+" did not answer", err.Error(), nil)
	a := v.local(f)
	v.x.Response = fixtures.Response{} // what is recorded is that none came
	return a, nil
}

// upstreamStatus is the status that stands for an upstream's failure.
func upstreamStatus(err error) int {
	var timeout interface{ Timeout() bool }
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout() {
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// switchProtocols passes a 101 on and then carries bytes both ways.
func (v *visit) switchProtocols(ctx context.Context, resp *wire.Response) error {
	client, err := v.w.Hijack()
	if err != nil {
		v.x.Outcome = fixtures.OutcomeUpstream
		_ = v.w.Break(wire.Break{Kind: wire.Abort})
		return fmt.Errorf("switch protocols: %w", err)
	}
	defer client.Close()
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 101 %s\r\n", resp.Reason)
	for _, f := range resp.Header {
		b.WriteString(f.Name + ": " + f.Value + "\r\n")
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(client, b.String()); err != nil {
		return err
	}
	before := time.Now()
	_, _, err = tunnel(ctx, client, resp.Switched)
	v.upstream += time.Since(before)
	v.x.Times.End = time.Since(v.start)
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

// endToEnd returns h without the fields for one hop alone (RFC 9110, 7.6.1), with edits applied;
// h itself where nothing changes. Transfer-Encoding and Content-Length stay:
// framing is the engines' affair. So do Upgrade and its Connection field.
func endToEnd(h fixtures.Header, edits []fixtures.Edit) fixtures.Header {
	upgrade := h.HasToken("Connection", "upgrade")
	strip := len(edits) > 0
	for i := range h {
		if !strip {
			strip = hopByHop(h[i].Name)
		}
	}
	if !strip {
		return h
	}
	var listed []string
	for _, v := range h.Values("Connection") {
		for name := range strings.SplitSeq(v, ",") {
			listed = append(listed, strings.TrimSpace(name))
		}
	}
	kept := make(fixtures.Header, 0, len(h)+len(edits))
fields:
	for _, f := range h {
		if upgrade && (strings.EqualFold(f.Name, "Connection") || strings.EqualFold(f.Name, "Upgrade")) {
			if strings.EqualFold(f.Name, "Connection") {
				f.Value = "Upgrade"
			}
			kept = append(kept, f)
			continue
		}
		if hopByHop(f.Name) {
			if strings.EqualFold(f.Name, "TE") && h.HasToken("TE", "trailers") {
				kept = append(kept, fixtures.Field{Name: f.Name, Value: "trailers"})
			}
			continue
		}
		for _, name := range listed {
			if name != "" && strings.EqualFold(f.Name, name) {
				continue fields
			}
		}
		kept = append(kept, f)
	}
	for _, e := range edits {
		switch e.Op {
		case fixtures.EditSet:
			kept.Set(e.Name, e.Value)
		case fixtures.EditAdd:
			kept.Add(e.Name, e.Value)
		case fixtures.EditRemove:
			kept.Del(e.Name)
		}
	}
	return kept
}

// hopByHop reports whether a field is for one connection alone.
func hopByHop(name string) bool {
	switch len(name) {
	case 2:
		return strings.EqualFold(name, "TE")
	case 7:
		return strings.EqualFold(name, "Upgrade")
	case 10:
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive")
	case 16:
		return strings.EqualFold(name, "Proxy-Connection")
	case 18:
		return strings.EqualFold(name, "Proxy-Authenticate")
	case 19:
		return strings.EqualFold(name, "Proxy-Authorization")
	}
	return false
}
