package app

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/coding"
)

// shownBody is the most of a body that is held to be shown.
const shownBody = 4 << 20

// ShowExchange writes an exchange as people read it: heads as on the wire, bodies
// without their content coding where they are text, else their type and size. raw
// writes the bodies as they came, whatever they are.
func ShowExchange(w io.Writer, c *cassette.Cassette, x *fixtures.Exchange, raw bool) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "exchange %d  %s", x.ID, x.At.UTC().Format(time.RFC3339Nano))
	if x.Client != "" {
		fmt.Fprintf(b, "  from %s", Printable(x.Client))
	}
	if x.Conn != 0 {
		fmt.Fprintf(b, "  connection %d", x.Conn)
	}
	fmt.Fprintf(b, "\n%s\n", Printable(x.Request.URL()))
	fmt.Fprintf(b, "TTFB %s, total %s", Seconds(ttfb(x)), Seconds(total(x)))
	if n := len(x.Response.Body.Frames); n > 1 {
		fmt.Fprintf(b, ", %d frames", n)
	}
	if x.Times.InFlight > 0 {
		fmt.Fprintf(b, ", %d in flight", x.Times.InFlight)
	}
	fmt.Fprintln(b)
	if x.Outcome != fixtures.OutcomeComplete {
		fmt.Fprintf(b, "ended: %s: %s\n", x.Outcome, Printable(x.Error))
	}
	if len(x.Fired) > 0 {
		fmt.Fprintf(b, "rules: %s\n", Printable(strings.Join(x.Fired, ", ")))
	}
	if len(x.Redacted) > 0 {
		fmt.Fprintf(b, "redacted: %s\n", Printable(strings.Join(x.Redacted, ", ")))
	}
	q, r := &x.Request, &x.Response
	fmt.Fprintf(b, "\n%s %s %s\n", Printable(q.Method), Printable(q.Target), Printable(q.Proto))
	writeHead(b, q.Header)
	if err := writeBody(b, c, q.Header, &q.Body, raw); err != nil {
		return err
	}
	writeHead(b, q.Trailer)
	for _, i := range r.Informational {
		fmt.Fprintf(b, "\n%s %d\n", Printable(r.Proto), i.Status)
		writeHead(b, i.Header)
	}
	if r.Status == 0 {
		fmt.Fprintln(b, "\n(no answer)")
	} else {
		fmt.Fprintf(b, "\n%s\n", strings.TrimSpace(fmt.Sprintf("%s %d %s", Printable(r.Proto), r.Status, Printable(r.Reason))))
		writeHead(b, r.Header)
		if err := writeBody(b, c, r.Header, &r.Body, raw); err != nil {
			return err
		}
		writeHead(b, r.Trailer)
	}
	return b.Flush()
}

func writeHead(b *bufio.Writer, h fixtures.Header) {
	for _, f := range h {
		fmt.Fprintf(b, "%s: %s\n", Printable(f.Name), Printable(f.Value))
	}
}

func writeBody(b *bufio.Writer, c *cassette.Cassette, h fixtures.Header, body *fixtures.Body, raw bool) error {
	if body.Size == 0 && len(body.Bytes) == 0 {
		return nil
	}
	_ = b.WriteByte('\n') // Flush tells of errors
	r, err := c.OpenBody(body)
	if err != nil {
		return BadInput(err)
	}
	defer func() { _ = r.Close() }()
	if raw {
		if _, err := io.Copy(b, r); err != nil {
			return BadInput(err)
		}
		return b.WriteByte('\n')
	}
	data, err := io.ReadAll(io.LimitReader(r, shownBody+1))
	if err != nil {
		return BadInput(err)
	}
	text, why := shown(data, h)
	if why != "" {
		fmt.Fprintf(b, "(%s, %s: %s)\n", typeOf(h), plural(int(body.Size), "byte"), why)
		return nil
	}
	_, _ = b.Write(text)
	if !bytes.HasSuffix(text, []byte("\n")) {
		_ = b.WriteByte('\n')
	}
	if body.CutShort {
		fmt.Fprintln(b, "(cut short here)")
	}
	return nil
}

// shown is a body as text, or why it is not shown.
func shown(data []byte, h fixtures.Header) (text []byte, why string) {
	if len(data) > shownBody {
		return nil, "too long to show; --raw writes it"
	}
	encoding := strings.Join(h.Values("Content-Encoding"), ",")
	if len(coding.Split(encoding)) > 0 {
		if !coding.Known(encoding) {
			return nil, "under the coding " + Printable(encoding)
		}
		decoded, err := coding.Decoded(data, encoding, shownBody)
		if err != nil {
			return nil, Printable(encoding) + ": " + err.Error()
		}
		data = decoded
	}
	if !utf8.Valid(data) || bytes.ContainsFunc(data, func(r rune) bool {
		return isControl(r) && r != '\n' && r != '\t' && r != '\r'
	}) {
		return nil, "not text"
	}
	return data, ""
}

func typeOf(h fixtures.Header) string {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return "body of no known type"
	}
	return Printable(t)
}
