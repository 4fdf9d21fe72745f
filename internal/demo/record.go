package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// record runs the session with payments there, and then takes it away.
func (t *tour) record(ctx context.Context) error {
	payments, err := serve(newPayments(t.Seed).handler())
	if err != nil {
		return fmt.Errorf("start payments: %w", err)
	}
	defer payments.close()

	t.say.heading("1 Record", "the shop talks to payments through understudy")
	args := []string{"record", "-o", t.cassette(), "--reverse", "127.0.0.1:0=" + dependency,
		"--set", fmt.Sprintf(`upstream.connect_to={"payments:80": %q}`, payments.addr)}
	t.say.command(args...)
	t.say.line("")
	l, _, err := t.serve(ctx, args, func(_ Process, url string) (err error) {
		t.before, err = t.session().play(ctx, url)
		return err
	})
	if err != nil {
		return err
	}
	lost := 0
	for _, n := range l.Ledger.Recording.Lost {
		lost += n
	}
	r := &t.result.Record
	r.Calls, r.Exchanges, r.Lost = len(t.before.calls), l.Ledger.Recording.Recorded, lost
	r.Seconds, r.OwnMicroseconds = t.before.took.Seconds(), l.own()
	t.say.line("  %d customers made %d requests to the shop in %.1f s, and the shop %d to payments.", t.pace.customers, len(t.before.visits), r.Seconds, r.Calls)
	t.say.line("  understudy's own part of a call was %.0f µs on average.", r.OwnMicroseconds)
	t.check("recorded", r.Exchanges == r.Calls && lost == 0, "%d of %d calls are in the cassette, %d lost", r.Exchanges, r.Calls, lost)
	found, err := holds(t.cassette(), apiKey)
	if err != nil {
		return err
	}
	t.check("redacted", found == "", "the shop's API key is %s", map[bool]string{true: "in no file of it", false: "in " + found}[found == ""])

	if err := t.ignore(ctx); err != nil {
		return err
	}
	payments.close()
	t.gone(ctx, "http://"+payments.addr+"/v1/rates")
	return nil
}

func (t *tour) session() session {
	return session{seed: t.Seed, customers: t.pace.customers, rounds: t.pace.rounds}
}

// holds returns the first file below dir that holds text, or "".
func holds(dir, text string) (found string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || found != "" {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			found = path
		}
		return err
	})
	return found, err
}

// ignore accepts what understudy proposes to pass over: the shop's requests are
// never twice the same.
func (t *tour) ignore(ctx context.Context) error {
	t.say.line("")
	t.say.line("  Each charge carries a fresh idempotency key and a timestamp. What changes by itself is")
	t.say.line("  found by comparing repeats, and ignored once you say so:")
	t.say.line("")
	args := []string{"cassette", "volatile", "--accept", t.cassette()}
	t.say.command(args...)
	t.say.line("")
	out, code, err := t.command(ctx, args...)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("understudy cassette volatile: exit %d", code)
	}
	r := &t.result.Record
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var p struct {
			What     string
			Kind     string
			Distinct int
			Repeats  int
			Accepted bool
		}
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return fmt.Errorf("read the proposals: %w", err)
		}
		if !p.Accepted {
			r.Risky = append(r.Risky, p.What)
			t.say.line("  counts:  %s: it may select the answer", p.What)
			continue
		}
		r.Volatile = append(r.Volatile, p.What)
		t.say.line("  ignored: %s: %s, %d values in %d repeats", p.What, p.Kind, p.Distinct, p.Repeats)
	}
	return nil
}

// gone shows that nobody is there any more.
func (t *tour) gone(ctx context.Context, url string) {
	t.say.line("")
	t.say.line("  Now payments is shut down:")
	client := newPaymentsClient()
	defer client.CloseIdleConnections()
	client.Timeout = 2 * time.Second
	note, down := "it still answers", false
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err == nil {
		var resp *http.Response
		if resp, err = client.Do(r); err == nil {
			resp.Body.Close()
		}
	}
	if err != nil {
		note, down = err.Error(), true
		if i := strings.LastIndex(note, ": "); i >= 0 {
			note = "GET " + url + ": " + note[i+2:]
		}
	}
	t.check("payments is gone", down, "%s", note)
}
