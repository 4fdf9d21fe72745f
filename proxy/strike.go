package proxy

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// strike carries out a fault that comes before any response: nothing is sent
// upstream. It reports whether the exchange has ended with it.
func (v *visit) strike(ctx context.Context) (bool, error) {
	f := v.x.Plan.Fault
	if f == nil {
		return false, nil
	}
	switch f.Kind {
	case fixtures.FaultStatus:
		v.x.Outcome = fixtures.OutcomeFault
		v.x.Source = "rule"
		return true, v.relay(ctx, v.local(f))
	case fixtures.FaultHang:
		return true, v.hang(ctx, f)
	case fixtures.FaultClose, fixtures.FaultGoAway, fixtures.FaultRSTStream:
	case fixtures.FaultReset:
		if f.Where == fixtures.WhereMidBody || f.Where == fixtures.WhereAfterResponse {
			return false, nil
		}
	default:
		return false, nil
	}
	v.x.Outcome = fixtures.OutcomeFault
	v.x.Source = "rule"
	return true, v.w.Break(breakFor(f))
}

// hang says nothing for as long as the fault wants, or until the client leaves.
func (v *visit) hang(ctx context.Context, f *fixtures.Fault) error {
	v.x.Source = "rule"
	until := time.Now().Add(f.For)
	if f.For == 0 {
		until = time.Now().Add(100 * 365 * 24 * time.Hour)
	}
	_ = v.wait(ctx, until, &v.injected)
	v.x.Outcome = fixtures.OutcomeFault
	return v.w.Break(wire.Break{Kind: wire.Close})
}

// breakFor says how a fault ends an exchange.
func breakFor(f *fixtures.Fault) wire.Break {
	switch f.Kind {
	case fixtures.FaultReset:
		return wire.Break{Kind: wire.Reset, Code: 8} // CANCEL (RFC 9113, 7)
	case fixtures.FaultRSTStream:
		return wire.Break{Kind: wire.Reset, Code: f.Code}
	case fixtures.FaultGoAway:
		return wire.Break{Kind: wire.GoAway, Code: f.Code}
	}
	return wire.Break{Kind: wire.Close}
}

// malform breaks the syntax of the answer's head, or of its chunks. It reports
// whether the exchange has ended with it.
func (v *visit) malform(a *answer, b *bend) (bool, error) {
	f := v.x.Plan.Fault
	if f == nil || f.Kind != fixtures.FaultMalformed {
		return false, nil
	}
	v.x.Outcome = fixtures.OutcomeFault
	if v.r.Proto == "HTTP/2.0" {
		// A HEADERS frame on stream 0 is a connection error (RFC 9113, 6.2).
		return true, v.w.Break(wire.Break{Kind: wire.Raw, Bytes: []byte{0, 0, 1, 1, 4, 0, 0, 0, 0, 0x88}})
	}
	reason := a.head.Reason
	if reason == "" {
		reason = http.StatusText(a.head.Status)
	}
	var raw string
	switch f.Where {
	case fixtures.WhereHeader:
		raw = fmt.Sprintf("HTTP/1.1 %d %s\r\nthis line has no colon\r\n : and this one no name\r\n\r\n", a.head.Status, reason)
	case fixtures.WhereChunk:
		raw = fmt.Sprintf("HTTP/1.1 %d %s\r\nTransfer-Encoding: chunked\r\n\r\nnot-a-size\r\n", a.head.Status, reason)
	default:
		raw = fmt.Sprintf("HTTP/one.one %s\r\n\r\n", reason)
	}
	return true, v.w.Break(wire.Break{Kind: wire.Raw, Bytes: []byte(raw)})
}
