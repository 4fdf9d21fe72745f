package gate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// dialer connects as LoadOptions say.
type dialer struct {
	addr   string // to dial: the proxy's, or the target's
	target string // host:port of the target
	tunnel bool   // CONNECT first
	tls    *tls.Config
	speak  func(net.Conn) (talker, error)
}

// CheckField refuses what is no field of a request, such as "Name: value".
func CheckField(f string) error {
	if name, _, ok := strings.Cut(f, ":"); !ok || name == "" || strings.ContainsAny(f, "\r\n") || strings.ContainsAny(name, " \t") {
		return fmt.Errorf(`want a field such as "Name: value", got %q`, f)
	}
	return nil
}

// maxSpread bounds how many requests are kept ready: more would measure this
// process's cache. They are taken from all over the range.
const maxSpread = 4096

func newDialer(o LoadOptions) (*dialer, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("want an http or https URL, got %q", o.URL)
	}
	d := &dialer{target: hostPort(u)}
	d.addr = d.target
	form := u.RequestURI()
	if o.ProxyURL != "" {
		p, err := url.Parse(o.ProxyURL)
		if err != nil {
			return nil, err
		}
		if p.Scheme != "http" || p.Host == "" {
			return nil, fmt.Errorf("want an http URL of a forward proxy, got %q", o.ProxyURL)
		}
		if o.HTTP2 && u.Scheme != "https" {
			return nil, errors.New("want an https URL to speak HTTP/2 to through a forward proxy")
		}
		d.addr = hostPort(p)
		if d.tunnel = u.Scheme == "https"; !d.tunnel {
			form = u.Scheme + "://" + u.Host + u.RequestURI()
		}
	}
	if u.Scheme == "https" {
		if d.tls, err = clientTLS(u, o); err != nil {
			return nil, err
		}
	}
	for _, f := range o.Header {
		if err := CheckField(f); err != nil {
			return nil, err
		}
	}
	if o.HTTP2 {
		blocks := make([][]byte, 0, min(max(o.Spread, 1), maxSpread))
		for path := range spread(form, o.Spread) {
			blocks = append(blocks, requestBlock(u, path, o.Header))
		}
		d.speak = func(c net.Conn) (talker, error) { return newClient2(c, blocks...) }
		return d, nil
	}
	requests := make([][]byte, 0, min(max(o.Spread, 1), maxSpread))
	for path := range spread(form, o.Spread) {
		requests = append(requests, requestText(u, path, o.Header))
	}
	d.speak = func(c net.Conn) (talker, error) { return newClient(c, requests...), nil }
	return d, nil
}

// spread yields form, or form with numbers from all over 0 … n-1.
func spread(form string, n int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if n <= 1 {
			yield(form)
			return
		}
		count := min(n, maxSpread)
		for i := range count {
			if !yield(fmt.Sprint(form, i*n/count)) {
				return
			}
		}
	}
}

func requestText(u *url.URL, form string, header []string) []byte {
	b := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: understudy-gate\r\nAccept: */*\r\n", form, u.Host)
	for _, f := range header {
		b = append(append(b, f...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

func clientTLS(u *url.URL, o LoadOptions) (*tls.Config, error) {
	c := &tls.Config{ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}}
	if o.HTTP2 {
		c.NextProtos = []string{"h2"}
	}
	if o.Roots != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(o.Roots)) {
			return nil, errors.New("no certificate in the roots")
		}
	}
	return c, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func (d *dialer) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var nd net.Dialer
	conn, err := nd.DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	if d.tunnel {
		if err := d.connectThrough(ctx, conn); err != nil {
			conn.Close()
			return nil, err
		}
	}
	if d.tls == nil {
		return conn, nil
	}
	c := tls.Client(conn, d.tls)
	if err := c.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	if want := d.tls.NextProtos[0]; want == "h2" && c.ConnectionState().NegotiatedProtocol != want {
		conn.Close()
		return nil, errors.New("want HTTP/2, the other side does not speak it")
	}
	return c, nil
}

func (d *dialer) connectThrough(ctx context.Context, conn net.Conn) error {
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := fmt.Fprintf(conn, "CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", d.target); err != nil {
		return err
	}
	// The head alone is read: what follows it belongs to the tunnel, and a
	// proxy sends nothing there before the client's hello.
	status, err := newClient(conn).connectHead()
	if err != nil {
		return errors.Join(fmt.Errorf("CONNECT %s: %w", d.target, err), ctx.Err())
	}
	if status != 200 {
		return fmt.Errorf("CONNECT %s: the proxy answered %d", d.target, status)
	}
	return nil
}
