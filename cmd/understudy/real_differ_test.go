package main

import (
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// leniencies are all that we pass on and one of the peers refuses, with the reason
// why. None is towards nginx and HAProxy at once.
var leniencies = []struct {
	peer, why string
	raw       *regexp.Regexp
	used      bool
}{
	{peer: "HAProxy", why: "an absolute target's authority wins over another Host (RFC 9112, 3.2.2), and that is the Host we pass on; curl -x with -H Host sends it",
		raw: regexp.MustCompile(`(?i)^[^ ]+ [a-z]+://`)},
	{peer: "HAProxy", why: "clients send UTF-8 in a target as it is",
		raw: regexp.MustCompile(`^[^ ]+ [^ ]*[\x80-\x{10ffff}\x{fffd}]`)},
	{peer: "HAProxy", why: "its field names end at 255 bytes; our bound is on the whole head",
		raw: regexp.MustCompile(`\n[A-Za-z0-9]{256}`)},
	{peer: "HAProxy", why: "it takes a hundred fields; our bound is on the whole head", raw: regexp.MustCompile(`^([^\n]+\n){100}`)},
	{peer: "HAProxy", why: "a body of GET, HEAD or DELETE in HTTP/1.0 has a length, and goes on as HTTP/1.1", raw: regexp.MustCompile(`^(GET|HEAD|DELETE) [^ ]+ HTTP/1.0\r\n`)},
	{peer: "HAProxy", why: "a WebSocket's key is between client and upstream", raw: regexp.MustCompile(`(?i)\nupgrade: websocket`)},
	{peer: "net/http", why: "an empty line before a request line is to be ignored (RFC 9112, 2.2)", raw: regexp.MustCompile(`^\r\n[A-Z]`)},
	{peer: "nginx", why: "a tab is optional white space around a value (RFC 9110, 5.6.3); we pass the value on without",
		raw: regexp.MustCompile(`(?i)(host|content-length|transfer-encoding):( *\t|[^\r\n]*\t *\r\n)`)},
	{peer: "nginx", why: "an empty Host is what a client without an authority must send (RFC 9112, 3.2)",
		raw: regexp.MustCompile(`(?i)\nhost: *\r\n`)},
	{peer: "nginx", why: "it maps paths to files and refuses those outside; we pass a path on as it is, for the upstream to judge",
		raw: regexp.MustCompile(`^[^ ]+ /(\.\.|%2e%2e|%00)`)},
	{peer: "nginx", why: "a method is a token (RFC 9110, 9.1); proxies pass on those that they do not know, and TRACE",
		raw: regexp.MustCompile(`^([^ ]*[^A-Z_ -][^ ]*|TRACE|[A-Z0-9]{33,}) `)},
	{peer: "nginx", why: "OPTIONS * is for the upstream to answer (RFC 9110, 9.3.7)", raw: regexp.MustCompile(`^OPTIONS \* `)},
	{peer: "net/http", why: "it answers OPTIONS * itself", raw: regexp.MustCompile(`^OPTIONS \* `)},
	{peer: "net/http", why: "an unknown expectation is for the upstream to judge (RFC 9110, 10.1.1)", raw: regexp.MustCompile(`(?i)\nexpect: `)},
	{peer: "net/http", why: "white space before a chunk extension must be read (RFC 9112, 7.1.1); we pass no extension on", raw: regexp.MustCompile(`\n0?[50] ;a=b\r\n`)},
}

// lenient reports whether it is on the list that a peer refuses a message and we do not.
func lenient(peer, raw string) bool {
	found := false
	for i := range leniencies {
		l := &leniencies[i]
		if l.peer == peer && l.raw.MatchString(raw) {
			l.used, found = true, true
		}
	}
	return found
}

// testDiffer sends thousands of odd and malformed requests to understudy, nginx, HAProxy and net/http,
// over sockets, each followed by a good request that closes the connection. Its laws:
//
//   - What nginx and HAProxy both refuse, we refuse. (A message may hold two oddities that
//     stand in leniencies, one towards each.)
//   - What one of the three refuses, we refuse too, unless it stands in leniencies.
//   - What we pass on is exactly one request on its connection, and nginx and HAProxy agree: given
//     the bytes that our upstream got, they see that request, or refuse it.
//   - The client gets an answer for each request that the upstream got, and no other.
//   - Where a peer accepts what we accept, it sees the same requests with the same bodies.
func (s *stage) testDiffer(t *testing.T) {
	const desks = 32
	us := s.understudyDesks(t, desks)
	peers := []struct {
		name  string
		desks []*desk
	}{{"nginx", s.nginxDesks(t, desks)}, {"HAProxy", s.haproxyDesks(t, desks)}, {"net/http", netHTTPDesks(t, desks)}}
	messages := append(knownMessages(), madeMessages(2500, 1)...)

	var mu sync.Mutex // of what follows
	accepted, refusedByBoth := 0, 0
	check := func(m message, our verdict, theirs []verdict) {
		mu.Lock()
		defer mu.Unlock()
		wrong := func(format string, args ...any) {
			t.Helper()
			t.Errorf("%s (%s): "+format, append([]any{m.name, text([]byte(m.raw))}, args...)...)
		}
		for _, trouble := range our.trouble {
			wrong("the upstream got what is not one request: %s", trouble)
		}
		answers := 0
		for _, status := range our.statuses {
			if status == 200 {
				answers++
			}
		}
		if answers != len(our.whole) {
			wrong("the client got %v, the upstream %d requests", our.statuses, len(our.whole))
		}
		both := theirs[0].refused() && theirs[1].refused()
		if both {
			refusedByBoth++
			if !our.refused() && !(lenient("nginx", m.raw) && lenient("HAProxy", m.raw)) {
				wrong("nginx and HAProxy refuse it (%v, %v), we do not: %v, %v", theirs[0].statuses, theirs[1].statuses, our.statuses, our.sequence())
			}
		}
		if !our.accepted() {
			return
		}
		accepted++
		for i, their := range theirs {
			name := peers[i].name
			switch {
			case their.refused():
				if !both && !lenient(name, m.raw) {
					wrong("%s refuses it (%v), we do not: %v", name, their.statuses, our.sequence())
				}
			case their.accepted():
				a, b := our.sequence(), their.sequence()
				if n := min(len(a), len(b)); !slices.Equal(a[:n], b[:n]) {
					wrong("we see %q, %s %q", a, name, b)
				}
			}
		}
	}

	next := make(chan message)
	var working sync.WaitGroup
	var broken atomic.Bool // a peer cannot be reached
	for i := range desks {
		working.Add(1)
		go func() { // ends when there is no next message
			defer working.Done()
			ask := func(d *desk, raw string) verdict {
				v, err := d.judge(raw)
				if err != nil && !broken.Swap(true) {
					t.Errorf("the rest is left out: %v", err)
				}
				return v
			}
			for m := range next {
				if broken.Load() {
					continue
				}
				var our verdict
				theirs := make([]verdict, len(peers))
				var asked sync.WaitGroup
				asked.Go(func() { our = ask(us[i], m.raw) })
				for k, p := range peers {
					asked.Go(func() { theirs[k] = ask(p.desks[i], m.raw) })
				}
				asked.Wait()
				if broken.Load() {
					continue
				}
				check(m, our, theirs)
				for k, raw := range our.raw {
					for _, p := range peers[:2] {
						v := ask(p.desks[i], raw)
						want := []string{our.sequence()[k], `GET ""`}
						if got := v.sequence(); v.accepted() && !slices.Equal(got, want) {
							t.Errorf("%s: we pass on %s; %s sees %q, want %q", m.name, text([]byte(raw)), p.name, got, want)
						}
					}
				}
			}
		}()
	}
	for _, m := range messages {
		next <- m
	}
	close(next)
	working.Wait()
	for _, l := range leniencies {
		if !l.used {
			t.Errorf("no message needs the leniency towards %s any more: %s", l.peer, l.why)
		}
	}
	t.Logf("%d messages: we pass on %d; nginx and HAProxy both refuse %d", len(messages), accepted, refusedByBoth)
}

// The generator must give what it gave before, or a failure cannot be looked into.
func TestDifferMessagesAreTheSameEachTime(t *testing.T) {
	once, again := madeMessages(50, 1), madeMessages(50, 1)
	if !slices.Equal(once, again) || slices.Equal(once, madeMessages(50, 2)) {
		t.Error("the same seed does not give the same messages, or another one does")
	}
	if n := len(knownMessages()); n < 1000 {
		t.Errorf("%d known messages, want at least 1000", n)
	}
}
