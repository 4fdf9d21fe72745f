package demo

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// apiKey is the secret that the shop shows to payments. It must not be found
// in a cassette.
const apiKey = "demo-api-key-d41d8cd98f00b204"

// declineAbove is the amount, in cents, beyond which the sample cards have no money.
const declineAbove = 30000

// How long payments works on each operation: shapes seen of real ones, scaled
// so that the tour is short.
var (
	chargeTime  = lognormal(35*time.Millisecond, 240*time.Millisecond)
	confirmTime = lognormal(9*time.Millisecond, 45*time.Millisecond)
	ratesTime   = lognormal(2*time.Millisecond, 8*time.Millisecond)
	eventsTime  = lognormal(20*time.Millisecond, 60*time.Millisecond)
)

// eventGaps is the rhythm of a charge's events: from one to the next.
var eventGaps = []time.Duration{60 * time.Millisecond, 30 * time.Millisecond, 90 * time.Millisecond}

func lognormal(median, p99 time.Duration) timing.Distribution {
	d, err := timing.LogNormal(median, p99)
	if err != nil { // constants, held by the tests
		return nil
	}
	return d
}

// payments is the dependency: a card processor with a few servers, a long
// tail, and a queue when they are busy.
type payments struct {
	seed    uint64
	draws   atomic.Uint64
	servers chan struct{} // one token for each charge in work
	rates   []byte        // computed once, as a cache would

	mu      sync.Mutex
	charges map[string]charge
}

// charge is what payments knows of one.
type charge struct {
	ID       string `json:"id"`
	Status   string `json:"status"` // "authorized", or "declined"
	Amount   int    `json:"amount"` // cents
	Currency string `json:"currency"`
	Customer string `json:"customer"`
	Created  string `json:"created"` // RFC 3339
}

// chargeRequest is what the shop asks for.
type chargeRequest struct {
	Amount         int    `json:"amount"`
	Currency       string `json:"currency"`
	Customer       string `json:"customer"`
	Card           string `json:"card"`
	IdempotencyKey string `json:"idempotency_key"`
	SentAt         string `json:"sent_at"`
}

func newPayments(seed uint64) *payments {
	return &payments{
		seed: seed, servers: make(chan struct{}, 6), charges: map[string]charge{},
		rates: []byte(`{"base":"EUR","rates":{"CHF":0.94,"GBP":0.85,"JPY":163.2,"USD":1.08}}` + "\n"),
	}
}

func (p *payments) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/charges", p.charge)
	mux.HandleFunc("GET /v1/charges/{id}", p.confirm)
	mux.HandleFunc("GET /v1/rates", p.serveRates)
	mux.HandleFunc("GET /v1/events", p.events)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+apiKey {
			refuse(w, http.StatusUnauthorized, "unauthorized", "no such API key")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// work takes as long as d says this time. It reports whether the client stayed.
func (p *payments) work(r *http.Request, d timing.Distribution) bool {
	u := timing.Unit(timing.Mix(p.seed, p.draws.Add(1)))
	return timing.SleepUntil(r.Context(), nil, time.Now().Add(d.Quantile(u))) == nil
}

func (p *payments) charge(w http.ResponseWriter, r *http.Request) {
	var in chargeRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil || in.Amount <= 0 || in.IdempotencyKey == "" {
		refuse(w, http.StatusBadRequest, "invalid_request", "want amount and idempotency_key")
		return
	}
	select {
	case p.servers <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	done := p.work(r, chargeTime)
	<-p.servers
	if !done {
		return
	}
	if in.Amount > declineAbove {
		refuse(w, http.StatusPaymentRequired, "card_declined", "insufficient funds")
		return
	}
	id := make([]byte, 12)
	_, _ = rand.Read(id) // never fails
	c := charge{
		ID: "ch_" + hex.EncodeToString(id), Status: "authorized", Amount: in.Amount, Currency: in.Currency,
		Customer: in.Customer, Created: time.Now().UTC().Format(time.RFC3339Nano),
	}
	p.mu.Lock()
	p.charges[c.ID] = c
	p.mu.Unlock()
	w.Header().Set("Location", "/v1/charges/"+c.ID)
	answer(w, http.StatusCreated, c)
}

func (p *payments) find(w http.ResponseWriter, id string) (charge, bool) {
	p.mu.Lock()
	c, ok := p.charges[id]
	p.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, "not_found", "no such charge")
	}
	return c, ok
}

func (p *payments) confirm(w http.ResponseWriter, r *http.Request) {
	if !p.work(r, confirmTime) {
		return
	}
	if c, ok := p.find(w, r.PathValue("id")); ok {
		answer(w, http.StatusOK, c)
	}
}

func (p *payments) serveRates(w http.ResponseWriter, r *http.Request) {
	if !p.work(r, ratesTime) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=60")
	_, _ = w.Write(p.rates)
}

// events tells what becomes of a charge, as server-sent events.
func (p *payments) events(w http.ResponseWriter, r *http.Request) {
	c, ok := p.find(w, r.URL.Query().Get("charge"))
	if !ok || !p.work(r, eventsTime) {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	next := time.Now()
	for i, state := range []string{"authorized", "captured", "in_transit", "settled"} {
		if i > 0 {
			next = next.Add(eventGaps[i-1])
			if timing.SleepUntil(r.Context(), nil, next) != nil {
				return
			}
		}
		_, err := fmt.Fprintf(w, "id: %d\nevent: %s\ndata: {\"charge\":%q,\"at\":%q}\n\n", i+1, state, c.ID, time.Now().UTC().Format(time.RFC3339Nano))
		if errors.Join(err, flush.Flush()) != nil {
			return
		}
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // plain structs always encode
		status, body = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}
