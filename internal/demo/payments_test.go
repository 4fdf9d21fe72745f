package demo

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

func ask(p *payments, method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+apiKey)
	w := httptest.NewRecorder()
	p.handler().ServeHTTP(w, r)
	return w
}

func TestPaymentsAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPayments(1)
		paid := ask(p, "POST", "/v1/charges", `{"amount":1290,"currency":"EUR","customer":"c01","idempotency_key":"k"}`)
		var c charge
		if err := json.Unmarshal(paid.Body.Bytes(), &c); err != nil || paid.Code != 201 || c.Amount != 1290 || c.Status != "authorized" {
			t.Fatalf("charge = %d %s (%v), want 201 with the amount", paid.Code, paid.Body, err)
		}
		if got := paid.Header().Get("Location"); got != "/v1/charges/"+c.ID {
			t.Errorf("Location = %q, want the charge", got)
		}
		if got := ask(p, "GET", "/v1/charges/"+c.ID, ""); got.Code != 200 || got.Body.String() != paid.Body.String() {
			t.Errorf("confirm = %d %s, want 200 %s", got.Code, got.Body, paid.Body)
		}
		for _, c := range []struct {
			method, target, body string
			want                 int
		}{
			{"POST", "/v1/charges", `{"amount":30001,"idempotency_key":"k"}`, 402},
			{"POST", "/v1/charges", `{"amount":30000,"idempotency_key":"k"}`, 201},
			{"POST", "/v1/charges", `{"amount":0,"idempotency_key":"k"}`, 400},
			{"POST", "/v1/charges", `{"amount":5}`, 400},
			{"POST", "/v1/charges", `{`, 400},
			{"GET", "/v1/charges/ch_none", "", 404},
			{"GET", "/v1/events?charge=ch_none", "", 404},
			{"GET", "/v1/rates", "", 200},
			{"DELETE", "/v1/rates", "", 405},
		} {
			if got := ask(p, c.method, c.target, c.body); got.Code != c.want {
				t.Errorf("%s %s %s = %d, want %d", c.method, c.target, c.body, got.Code, c.want)
			}
		}
		w := httptest.NewRecorder()
		p.handler().ServeHTTP(w, httptest.NewRequest("GET", "/v1/rates", nil))
		if w.Code != http.StatusUnauthorized {
			t.Errorf("without the key = %d, want 401", w.Code)
		}
	})
}

// The seventh charge waits for one of six servers.
func TestPaymentsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPayments(1)
		for range cap(p.servers) {
			p.servers <- struct{}{}
		}
		done := make(chan int, 1)
		go func() { done <- ask(p, "POST", "/v1/charges", `{"amount":1,"idempotency_key":"k"}`).Code }()
		time.Sleep(time.Minute)
		select {
		case code := <-done:
			t.Fatalf("charge = %d with all servers busy, want it to wait", code)
		default:
		}
		<-p.servers
		if code := <-done; code != 201 {
			t.Errorf("charge = %d once a server is free, want 201", code)
		}
	})
}

// Times come from the seed, in the announced shape.
func TestPaymentsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times []time.Duration
		p, again := newPayments(7), newPayments(7)
		for range 999 {
			start := time.Now()
			ask(p, "GET", "/v1/rates", "")
			took := time.Since(start)
			start = time.Now()
			ask(again, "GET", "/v1/rates", "")
			if other := time.Since(start); other != took {
				t.Fatalf("rates(seed=7) = %s and %s, want the same", took, other)
			}
			times = append(times, took)
		}
		s := timing.Summarize(times)
		if s.P50 < 1900*time.Microsecond || s.P50 > 2100*time.Microsecond || s.P99 < 6*time.Millisecond || s.P99 > 10*time.Millisecond {
			t.Errorf("rates took p50 %s, p99 %s, want about 2ms and 8ms", s.P50, s.P99)
		}
	})
}

func TestPaymentsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPayments(1)
		p.charges["ch_1"] = charge{ID: "ch_1"}
		w := ask(p, "GET", "/v1/events?charge=ch_1", "")
		if got := w.Header().Get("Content-Type"); got != "text/event-stream" || !w.Flushed {
			t.Errorf("Content-Type = %q, flushed %v, want a stream", got, w.Flushed)
		}
		var at []time.Time
		var states []string
		for event := range strings.SplitSeq(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n") {
			var data struct{ Charge, At string }
			lines := strings.Split(event, "\n")
			if len(lines) != 3 || json.Unmarshal([]byte(strings.TrimPrefix(lines[2], "data: ")), &data) != nil || data.Charge != "ch_1" {
				t.Fatalf("event = %q, want id, event and data of ch_1", event)
			}
			states = append(states, strings.TrimPrefix(lines[1], "event: "))
			when, err := time.Parse(time.RFC3339Nano, data.At)
			if err != nil {
				t.Fatal(err)
			}
			at = append(at, when)
		}
		if want := []string{"authorized", "captured", "in_transit", "settled"}; !slices.Equal(states, want) {
			t.Fatalf("events = %q, want %q", states, want)
		}
		for i, gap := range eventGaps {
			if got := at[i+1].Sub(at[i]); got != gap {
				t.Errorf("gap %d = %s, want %s", i, got, gap)
			}
		}
	})
}
