package demo

import (
	"net/http"
	"reflect"
	"testing"
)

func TestPlanComesFromTheSeed(t *testing.T) {
	s := session{seed: 42, customers: 4, rounds: 6}
	for n := range s.customers {
		plan := s.plan(n)
		if !reflect.DeepEqual(plan, s.plan(n)) {
			t.Errorf("plan(%d) differs from itself", n)
		}
		for i := 1; i < len(plan); i += 2 {
			if plan[i].order != plan[i-1].order {
				t.Errorf("plan(%d)[%d] = %+v, want a repeat of %+v", n, i, plan[i].order, plan[i-1].order)
			}
		}
	}
	if reflect.DeepEqual(s.plan(0), session{seed: 43, rounds: 6}.plan(0)) {
		t.Error("plan(seed=43) = plan(seed=42), want another")
	}
	if a, b := s.plan(0)[0].order.Customer, s.plan(1)[0].order.Customer; a == b {
		t.Errorf("two customers are called %q", a)
	}
}

// The session against payments itself, without understudy: nothing fails, and
// the shop makes the calls that it should.
func TestSession(t *testing.T) {
	payments, err := serve(newPayments(1).handler())
	if err != nil {
		t.Fatal(err)
	}
	defer payments.close()
	s := session{seed: 5, customers: 6, rounds: 2}
	got, err := s.play(t.Context(), "http://"+payments.addr)
	if err != nil {
		t.Fatal(err)
	}
	ops := map[string]int{}
	statuses := map[int]int{}
	for _, v := range got.visits {
		ops[v.op]++
		statuses[v.status]++
		if v.failed() {
			t.Errorf("%s = %d, want no failure", v.op, v.status)
		}
	}
	if want := s.customers * s.rounds; ops["browse"] != want || ops["checkout"] != want || ops["track"] == 0 {
		t.Errorf("visits = %v, want %d each of browse and checkout, and some track", ops, want)
	}
	calls := map[string]int{}
	seen := map[[2]string]bool{}
	for _, c := range got.calls {
		calls[c.op]++
		if key := [2]string{c.op, c.step}; seen[key] {
			t.Errorf("%v comes twice: it could not be paired", key)
		} else {
			seen[key] = true
		}
		if c.op == "GET /v1/events" && len(c.frames) != 4 {
			t.Errorf("events: %d frames, want 4", len(c.frames))
		}
	}
	paid := ops["checkout"] - statuses[http.StatusPaymentRequired]
	want := map[string]int{
		"GET /v1/rates": ops["browse"] + ops["checkout"], "POST /v1/charges": ops["checkout"],
		"GET /v1/charges/{id}": paid, "GET /v1/events": ops["track"],
	}
	if !reflect.DeepEqual(calls, want) {
		t.Errorf("calls = %v, want %v", calls, want)
	}
}

// With payments gone customers see failures, and the session still ends.
func TestSessionWithoutPayments(t *testing.T) {
	payments, err := serve(http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	payments.close()
	payments.close() // a second time is no harm
	got, err := session{seed: 5, customers: 2, rounds: 1}.play(t.Context(), "http://"+payments.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range got.visits {
		if v.status != http.StatusBadGateway {
			t.Errorf("%s = %d, want 502", v.op, v.status)
		}
	}
}
