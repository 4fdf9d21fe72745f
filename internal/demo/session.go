package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// session is what the customers do: the same for the same seed, whatever the
// answers and however long they take.
type session struct {
	seed      uint64
	customers int
	rounds    int // of browsing and buying, for each customer
	// last is how long the session goes on, the rounds from the start again;
	// 0 ends it after the rounds.
	last time.Duration
}

// visit is one request of a customer to the shop.
type visit struct {
	op      string // "browse", "checkout", "track"
	start   time.Time
	elapsed time.Duration
	status  int // 0 where no answer came
}

// failed tells whether the customer saw an error. A declined card is none.
func (v *visit) failed() bool { return v.status == 0 || v.status >= 500 }

// played is a session that has been run.
type played struct {
	visits []visit
	calls  []call // of payments, by the shop
	took   time.Duration
}

// play runs the session with a shop whose payments are at url. It returns ctx's
// error where ctx ends first.
func (s session) play(ctx context.Context, url string) (*played, error) {
	sh := &shop{payments: paymentsClient{base: url, http: newPaymentsClient()}}
	defer sh.payments.http.CloseIdleConnections()
	service, err := serve(sh.handler())
	if err != nil {
		return nil, fmt.Errorf("start the shop: %w", err)
	}
	defer service.close()
	web := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: s.customers}, Timeout: 10 * time.Second}
	defer web.CloseIdleConnections()

	start := time.Now()
	var all played
	var mu sync.Mutex
	var wg sync.WaitGroup
	for n := range s.customers {
		wg.Go(func() { // ends with its rounds or ctx
			c := customer{session: s, n: n, web: web, shop: "http://" + service.addr, end: start.Add(s.last)}
			c.run(ctx)
			mu.Lock()
			all.visits = append(all.visits, c.visits...)
			mu.Unlock()
		})
	}
	wg.Wait()
	all.took, all.calls = time.Since(start), sh.payments.made()
	return &all, ctx.Err()
}

// customer is one of the session's.
type customer struct {
	session
	n      int
	web    *http.Client
	shop   string
	end    time.Time
	visits []visit
}

// round is one of a customer's rounds, drawn before anything is asked.
type round struct {
	order  order
	track  bool
	thinks [3]time.Duration // before each request
}

// plan draws a customer's rounds. Every other one repeats the basket before it: people
// do, and it is how values that change by themselves can be told from others.
func (s session) plan(n int) []round {
	rng := rand.New(rand.NewPCG(s.seed, timing.Mix(s.seed, uint64(n))))
	rounds := make([]round, s.rounds)
	for i := range rounds {
		r := &rounds[i]
		r.order = order{
			SKU: catalogue[rng.IntN(len(catalogue))].SKU, Count: 1 + rng.IntN(3),
			Currency: currencies[n%len(currencies)], Customer: fmt.Sprintf("c%02d", n),
		}
		if i%2 == 1 {
			r.order = rounds[i-1].order
		}
		r.track = rng.IntN(3) == 0
		for j := range r.thinks {
			r.thinks[j] = time.Duration(20+rng.IntN(100)) * time.Millisecond
		}
	}
	return rounds
}

func (c *customer) run(ctx context.Context) {
	rounds := c.plan(c.n)
	for i := 0; ctx.Err() == nil; i++ {
		if c.last == 0 && i == len(rounds) || c.last > 0 && !time.Now().Before(c.end) {
			return
		}
		c.round(ctx, &rounds[i%len(rounds)], fmt.Sprintf("c%02d/%d", c.n, i))
	}
}

func (c *customer) round(ctx context.Context, r *round, step string) {
	pause := func(i int) { _ = timing.SleepUntil(ctx, nil, time.Now().Add(r.thinks[i])) } // run looks at ctx
	pause(0)
	c.visit(ctx, "browse", step+"/browse", "GET", "/products?currency="+r.order.Currency, nil)
	pause(1)
	body, err := json.Marshal(r.order)
	if err != nil { // a plain struct always encodes
		return
	}
	var receipt struct{ Charge string }
	answer := c.visit(ctx, "checkout", step+"/checkout", "POST", "/checkout", body)
	if json.Unmarshal(answer, &receipt) != nil || receipt.Charge == "" || !r.track {
		return
	}
	pause(2)
	c.visit(ctx, "track", step+"/track", "GET", "/orders/"+receipt.Charge, nil)
}

// visit asks the shop once and returns the answer's body.
func (c *customer) visit(ctx context.Context, op, step, method, target string, body []byte) []byte {
	r, err := http.NewRequestWithContext(ctx, method, c.shop+target, bytes.NewReader(body))
	if err != nil {
		return nil
	}
	r.Header.Set(stepField, step)
	v := visit{op: op, start: time.Now()}
	var answer []byte
	if resp, err := c.web.Do(r); err == nil {
		answer, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			v.status = resp.StatusCode
		}
	}
	v.elapsed = time.Since(v.start)
	c.visits = append(c.visits, v)
	return answer
}
