package upstream

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/http1"
	"github.com/understudy-proxy/understudy/proxy/http2"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// toHTTP1 translates a request that came as HTTP/2. Names stay in lower case;
// Host leads, taken from :authority; cookie crumbs are joined (RFC 9113, 8.2.3);
// fields that HTTP/2 does not know are taken out; a body of unknown length goes
// out chunked.
func toHTTP1(r *wire.Request) *wire.Request {
	out := *r
	out.Proto = "HTTP/1.1"
	out.Header = make(fixtures.Header, 0, len(r.Header)+2)
	out.Header.Add("host", r.Host)
	if h := r.Header.Get("host"); h != "" {
		out.Header[0].Value = h
	}
	cookie := -1
	for _, f := range r.Header {
		switch strings.ToLower(f.Name) {
		case "host", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "http2-settings":
		case "cookie":
			if cookie >= 0 {
				out.Header[cookie].Value += "; " + f.Value
				continue
			}
			cookie = len(out.Header)
			out.Header = append(out.Header, f)
		default:
			out.Header = append(out.Header, f)
		}
	}
	if r.Body != nil && r.Length < 0 {
		out.Chunked = true
		out.Header.Add("transfer-encoding", "chunked")
	}
	return &out
}

// idempotent reports whether a method may be repeated (RFC 9110, 9.2.2).
func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// mayRetry reports whether r, having failed with err on a connection that had
// served before, may be sent again.
func mayRetry(ctx context.Context, r *wire.Request, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if errors.Is(err, http2.ErrUnserved) {
		return true
	}
	stale, ok := errors.AsType[*http1.StaleError](err)
	if ok && stale.Unsent {
		return true
	}
	if !idempotent(r.Method) {
		return false
	}
	return ok && !stale.BodyTaken || errors.Is(err, http2.ErrLost)
}

// boundBody ends a context with the body.
type boundBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close closes the body.
func (b *boundBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
