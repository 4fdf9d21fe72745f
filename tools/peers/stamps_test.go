package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The stamping client is a process of its own, here this test's program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "client" {
		if err := runClient(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestStampedClient(t *testing.T) {
	if _, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, ^uintptr(0), 0, 1, 0, 0, 0); errno == unix.ENOSYS {
		t.Skip("this kernel has no epoll_pwait2, which Linux 5.11 brought")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{self: self, env: os.Environ()}
	for name, handle := range map[string]http.HandlerFunc{
		"a length": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, smallBody()) },
		"pieces": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "one")
			_ = http.NewResponseController(w).Flush()
			fmt.Fprint(w, "two")
		},
		"connections that end": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			fmt.Fprint(w, smallBody())
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handle)
			defer server.Close()
			for _, l := range []stampLoad{
				{conns: 3},
				{conns: 3, least: time.Millisecond, think: time.Millisecond, spread: 2 * time.Millisecond},
			} {
				l.url = server.URL + "/x"
				if s := stampedAtLast(t, b, l); s.requests == 0 || s.errors > 0 || s.unstamped == 0 && s.socket50 > s.seen50 {
					t.Errorf("%+v: stamped = %+v, want answers, no errors, and the socket before the read", l, s)
				}
			}
		})
	}
	t.Run("wrong answers", func(t *testing.T) {
		server := httptest.NewServer(http.NotFoundHandler())
		defer server.Close()
		s := stampedAtLast(t, b, stampLoad{url: server.URL, conns: 1})
		if s.requests > 0 || s.errors == 0 || !strings.Contains(s.first, "404") || !math.IsNaN(s.socket50) {
			t.Errorf("stamped = %+v, want errors that tell of 404, and no figures", s)
		}
	})
}

// stampedAtLast is what l gives in as long as it takes until there is anything: on a
// machine that others fill, no answer may come in a tenth of a second.
func stampedAtLast(t *testing.T, b *bench, l stampLoad) stamps {
	t.Helper()
	for l.took = 100 * time.Millisecond; ; l.took *= 4 {
		s, err := b.stamped(context.Background(), l)
		if err != nil {
			t.Fatal(err)
		}
		if s.requests > 0 || s.errors > 0 || l.took > 10*time.Second {
			return s
		}
	}
}

func TestParseStamps(t *testing.T) {
	want := stamps{requests: 17_000, unstamped: 3, errors: 1, socket50: 10_005.5, socket99: 10_100, seen50: 10_040, seen99: 10_900, cpu: 20.5, first: `connect: "no"`}
	if got, err := parseStamps(want.line() + "\n"); err != nil || got != want {
		t.Errorf("parseStamps = %+v, %v, want %+v", got, err, want)
	}
	// Nobody had an answer in time: there is no error of a delay to tell.
	got, err := parseStamps(stamps{}.line())
	if err != nil || !math.IsNaN(got.socket50) || !math.IsNaN(got.seen50) {
		t.Errorf("parseStamps of no answers = %+v, %v, want figures that are none", got, err)
	}
	for _, bad := range []string{"", "client: no such file", "STAMPS 1 2 3"} {
		if _, err := parseStamps(bad); err == nil {
			t.Errorf("parseStamps(%q) = nil error, want one", bad)
		}
	}
}

func TestFold(t *testing.T) {
	var s stamps
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	s.fold([]time.Duration{ms(3), ms(1), ms(2)}, []time.Duration{ms(2), ms(1)}, 300*time.Microsecond)
	if want := (stamps{requests: 3, unstamped: 1, socket50: 2000, socket99: 2000, seen50: 2000, seen99: 3000, cpu: 100}); s != want {
		t.Errorf("fold = %+v, want %+v", s, want)
	}
}

func TestStampLoad(t *testing.T) {
	g := &group{asked: 5 * time.Second, think: 2 * time.Second}
	got := g.stampLoad(subject{paced: true}, "http://127.0.0.1:1/", 10, 4)
	want := stampLoad{url: "http://127.0.0.1:1/", conns: 10, took: 10 * time.Second, least: 5 * time.Second, think: 2 * time.Second, spread: 6 * time.Second}
	if got != want {
		t.Errorf("stampLoad = %+v, want %+v", got, want)
	}
	if got := g.stampLoad(subject{}, "", 1, 20); got.took != 20*time.Second || got.least != 0 {
		t.Errorf("stampLoad = %+v, want the asked 20s, and no pause where the subject delays", got)
	}
	back, err := parseStampLoad(got.args()[1:])
	if err != nil || !reflect.DeepEqual(back, want) {
		t.Errorf("parseStampLoad of its arguments = %+v, %v, want %+v", back, err, want)
	}
	for _, bad := range [][]string{nil, {"u", "0", "1s", "0s", "0s", "0s"}, {"u", "1", "1", "0s", "0s", "0s"}} {
		if _, err := parseStampLoad(bad); err == nil {
			t.Errorf("parseStampLoad(%q) = nil error, want one", bad)
		}
	}
}
