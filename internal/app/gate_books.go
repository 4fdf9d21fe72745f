package app

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/internal/gate"
)

// What the gate's cassettes were recorded from, and where their exchanges are.
const (
	recordedHost = "origin.gate.test"
	itemPath     = "/item/"
)

// writeItems writes n exchanges, the answer to each item a KiB of JSON.
func writeItems(file string, n int) error {
	head := strings.Repeat("x", 1024-len(`{"item":"000000","fill":""}`))
	return writeExchanges(file, n, func(i int, x *fixtures.Exchange) {
		x.Request.Target = itemPath + strconv.Itoa(i)
		body := fmt.Appendf(nil, `{"item":"%06d","fill":"%s"}`, i, head)
		x.Response.Header = fixtures.Header{{Name: "Content-Type", Value: "application/json"}, {Name: "Content-Length", Value: strconv.Itoa(len(body))}}
		x.Response.Body = fixtures.Body{Bytes: body, Size: int64(len(body))}
	})
}

// writeStream writes the exchange that gate's upstream has on StreamPath.
func writeStream(file string) error {
	return writeExchanges(file, 1, func(_ int, x *fixtures.Exchange) {
		x.Request.Target = gate.StreamPath
		x.Response.Header = fixtures.Header{{Name: "Content-Type", Value: "text/event-stream"}}
		b := &x.Response.Body
		b.Chunked = true
		for n := range gate.StreamEvents {
			event := gate.StreamEvent(n)
			b.Bytes = append(b.Bytes, event...)
			// The first instant of an upstream is never 0, which says unknown.
			b.Frames = append(b.Frames, fixtures.Frame{At: time.Duration(n)*gate.StreamEvery + 1, Size: len(event)})
		}
		b.Size = int64(len(b.Bytes))
		x.Times.FirstByte, x.Times.End = b.Frames[0].At, b.Frames[gate.StreamEvents-1].At
	})
}

// writeLarge writes the exchange that gate's upstream has on LargePath, in pieces a
// millisecond apart.
func writeLarge(file string) error {
	const pieces = 16
	return writeExchanges(file, 1, func(_ int, x *fixtures.Exchange) {
		x.Request.Target = gate.LargePath
		x.Response.Header = fixtures.Header{{Name: "Content-Type", Value: "application/json"}, {Name: "Content-Length", Value: strconv.Itoa(gate.LargeSize)}}
		b := &x.Response.Body
		b.Bytes, b.Size = bytes.Repeat([]byte("1"), gate.LargeSize), gate.LargeSize
		for n := range pieces {
			b.Frames = append(b.Frames, fixtures.Frame{At: time.Duration(n)*time.Millisecond + 1, Size: gate.LargeSize / pieces})
		}
		x.Times.FirstByte, x.Times.End = b.Frames[0].At, b.Frames[pieces-1].At
	})
}

func writeExchanges(file string, n int, fill func(i int, x *fixtures.Exchange)) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	var line []byte
	for i := range n {
		x := fixtures.Exchange{
			ID: uint64(i + 1), Conn: 1, Client: "127.0.0.1", At: time.Unix(1_700_000_000, 0).UTC(),
			Request:  fixtures.Request{Proto: "HTTP/1.1", Method: "GET", Scheme: "http", Host: recordedHost},
			Response: fixtures.Response{Proto: "HTTP/1.1", Status: 200, Reason: "OK"},
			Times:    fixtures.Times{UpstreamSent: 1, FirstByte: 1, End: 1},
		}
		fill(i, &x)
		if line, err = cassette.EncodeExchange(line[:0], &x); err != nil {
			return err
		}
		if _, err = w.Write(line); err != nil {
			return err
		}
		if line[len(line)-1] != '\n' {
			if err = w.WriteByte('\n'); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}

// mallocsOf reads from a run's metrics how many objects it has allocated.
func mallocsOf(s *Self) func(context.Context) (uint64, error) {
	return func(ctx context.Context) (uint64, error) {
		found, err := readMetrics(ctx, s, "go_memstats_mallocs_total")
		if err != nil {
			return 0, fmt.Errorf("read allocations: %w", err)
		}
		return uint64(found[0]), nil
	}
}

// readMetrics reads metrics that have no labels from a run's admin API, in the order
// of their names.
func readMetrics(ctx context.Context, s *Self, names ...string) ([]float64, error) {
	e, _ := s.Event("admin")
	base, _ := e["url"].(string)
	if base == "" {
		return nil, errors.New("the run has no admin API")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Close = true // nothing is left open between two readings
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	found, missing := make([]float64, len(names)), slices.Clone(names)
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		i := slices.Index(names, name)
		if i < 0 {
			continue
		}
		if found[i], err = strconv.ParseFloat(text, 64); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		missing[i] = ""
	}
	if missing = slices.DeleteFunc(missing, func(n string) bool { return n == "" }); len(missing) > 0 {
		return nil, errors.Join(fmt.Errorf("no %s in the metrics (%s)", strings.Join(missing, ", "), resp.Status), lines.Err())
	}
	return found, nil
}
