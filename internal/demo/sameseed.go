package demo

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

const flakyRules = `rules:
  - name: flaky rates
    when: request.path == "/v1/rates"
    chance: 30%
    fault: {status: 503}
`

// sameSeed makes the same calls in three runs, two of them with the same seed.
func (t *tour) sameSeed(ctx context.Context) error {
	t.say.heading("4 Same seed, same chaos", "every decision comes from one number")
	file, err := t.write("flaky.yaml", flakyRules)
	if err != nil {
		return err
	}
	t.say.line("  flaky.yaml fails 30 %% of the calls for rates. %d calls in each run; x is one that failed.", t.pace.fates)
	t.say.line("")
	r := &t.result.SameSeed
	for i, into := range []*string{&r.First, &r.Second, &r.Other} {
		seed := t.Seed
		if i == 2 {
			seed++
		}
		args := []string{"replay", "-f", t.cassette(), "--timing", "none", "--rules", file, "--seed", fmt.Sprint(seed), "--reverse", "127.0.0.1:0=" + dependency}
		if i == 0 {
			t.say.command(args...)
			t.say.line("")
		}
		_, _, err := t.serve(ctx, args, func(_ Process, url string) (err error) {
			*into, err = fates(ctx, url, t.pace.fates)
			return err
		})
		if err != nil {
			t.check("same seed", false, "%v", err)
			return errNotShown
		}
		t.say.line("  --seed %-4d %s", seed, *into)
	}
	t.say.line("")
	struck := strings.Count(r.First, "x")
	ok := r.First == r.Second && r.First != r.Other && struck > 0 && struck < t.pace.fates
	t.check("same seed", ok, "two runs with seed %d made the same %d decisions: %v; seed %d made others: %v",
		t.Seed, t.pace.fates, r.First == r.Second, t.Seed+1, r.First != r.Other)
	return nil
}

// fates calls for rates n times, one after the other, and returns "x" for each
// that was refused, "." for each that was answered.
func fates(ctx context.Context, url string, n int) (string, error) {
	c := &paymentsClient{base: url, http: newPaymentsClient()}
	defer c.http.CloseIdleConnections()
	return c.fates(ctx, n)
}

func (c *paymentsClient) fates(ctx context.Context, n int) (string, error) {
	var b strings.Builder
	for range n {
		_, status, err := c.do(ctx, "", http.MethodGet, "/v1/rates", nil)
		switch {
		case err != nil:
			return "", err
		case status == http.StatusOK:
			b.WriteByte('.')
		case status == http.StatusServiceUnavailable:
			b.WriteByte('x')
		default:
			return "", fmt.Errorf("GET /v1/rates: want status 200 or 503, got %d", status)
		}
	}
	return b.String(), nil
}
