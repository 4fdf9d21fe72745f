package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// call is one call of payments, as the shop saw it.
type call struct {
	op      string // "POST /v1/charges", "GET /v1/charges/{id}", "GET /v1/rates", "GET /v1/events"
	step    string // the customer's step, from stepField; with op it names the call in each session
	elapsed time.Duration
	status  int // 0 where no answer came
	digest  [sha256.Size]byte
	frames  []time.Duration // of a stream: when each event came, since the request
	missed  bool            // understudy had no answer
	err     error
}

// paymentsClient calls payments at base, and remembers each call.
type paymentsClient struct {
	base string
	http *http.Client

	mu    sync.Mutex
	calls []call
}

// made are the calls so far. Where a session was cut off, some may still end.
func (c *paymentsClient) made() []call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

func newPaymentsClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}, // no Proxy: straight to base
		Timeout:   5 * time.Second,
	}
}

// do makes one call and returns the answer's body and status.
func (c *paymentsClient) do(ctx context.Context, step, method, target string, body []byte) ([]byte, int, error) {
	k := call{op: operation(method, target), step: step}
	start := time.Now()
	answer, err := c.exchange(ctx, &k, method, target, body, start)
	k.elapsed, k.err = time.Since(start), err
	k.digest = sha256.Sum256(answer)
	c.mu.Lock()
	c.calls = append(c.calls, k)
	c.mu.Unlock()
	return answer, k.status, err
}

func (c *paymentsClient) exchange(ctx context.Context, k *call, method, target string, body []byte, start time.Time) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+apiKey)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	k.status, k.missed = resp.StatusCode, resp.Header.Get("Understudy-Miss") != ""
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return io.ReadAll(resp.Body)
	}
	var all []byte
	piece := make([]byte, 4<<10)
	for {
		n, err := resp.Body.Read(piece)
		all = append(all, piece[:n]...)
		for range bytes.Count(all, []byte("\n\n")) - len(k.frames) {
			k.frames = append(k.frames, time.Since(start))
		}
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// operation names a call without the values in it.
func operation(method, target string) string {
	path, _, _ := strings.Cut(target, "?")
	if rest, ok := strings.CutPrefix(path, "/v1/charges/"); ok && rest != "" {
		path = "/v1/charges/{id}"
	}
	return method + " " + path
}

// uuid is a new random UUID, version 4.
func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
