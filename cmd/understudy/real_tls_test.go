package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// anyHost starts a replay whose one stub answers for every host, behind a forward
// and a reverse door, and returns the doors' addresses.
func (s *stage) anyHost(t testing.TB) (a *act, forward, reverse string) {
	t.Helper()
	stub := filepath.Join(t.TempDir(), "any.yaml")
	if err := os.WriteFile(stub, []byte("- name: any\n  response: {status: 200, body: hello}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a = s.start(t, "replay", "-f", stub, "--admin", "off", "--forward", "127.0.0.1:0", "--reverse", "127.0.0.1:0=https://reverse.test")
	return a, strings.TrimPrefix(a.address(t, "forward", ""), "http://"), strings.TrimPrefix(a.address(t, "reverse", ""), "http://")
}

func (s *stage) roots(t testing.TB) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(s.caFile)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("read %s: %v", s.caFile, err)
	}
	return pool
}

// connect opens a connection to a host through a forward door, and asks one thing.
func connect(door string, cfg *tls.Config) (state tls.ConnectionState, err error) {
	nc, err := net.Dial("tcp", door)
	if err != nil {
		return state, err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return state, err
	}
	host := cfg.ServerName
	if _, err := fmt.Fprintf(nc, "CONNECT %[1]s:443 HTTP/1.1\r\nHost: %[1]s:443\r\n\r\n", host); err != nil {
		return state, err
	}
	// The door says nothing after its answer before it is spoken to.
	resp, err := http.ReadResponse(bufio.NewReader(nc), &http.Request{Method: "CONNECT"})
	if err != nil || resp.StatusCode != http.StatusOK {
		return state, fmt.Errorf("CONNECT %s: %v, %v", host, resp, err)
	}
	tc := tls.Client(nc, cfg)
	if _, err := fmt.Fprintf(tc, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host); err != nil {
		return state, err
	}
	body, err := io.ReadAll(tc) // the session's ticket comes with the answer
	if err != nil || !strings.HasSuffix(string(body), "hello") {
		return state, fmt.Errorf("GET / of %s = %q, %v", host, body, err)
	}
	return tc.ConnectionState(), nil
}

// testResumption has real clients come again to what we intercept: the second
// time without a certificate, whichever door and version of TLS.
func (s *stage) testResumption(t *testing.T) {
	_, forward, reverse := s.anyHost(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run("Go, "+tls.VersionName(version), func(t *testing.T) {
			cache := tls.NewLRUClientSessionCache(16)
			for _, want := range []bool{false, true, true} {
				for _, host := range []string{"one.test", "two.test"} {
					state, err := connect(forward, &tls.Config{ServerName: host, RootCAs: s.roots(t), MaxVersion: version, ClientSessionCache: cache})
					if err != nil {
						t.Fatal(err)
					}
					if state.DidResume != want {
						t.Errorf("%s: DidResume = %v, want %v", host, state.DidResume, want)
					}
				}
			}
		})
	}
	openssl := func(t *testing.T, args ...string) string {
		t.Helper()
		out, errs, code := s.command(t, nil, "sh", append([]string{"-c", `printf 'GET / HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n' | timeout 20 openssl s_client -ign_eof "$@"`, "-",
			"-servername", "one.test", "-CAfile", s.caFile, "-verify_return_error"}, args...)...)
		if code != 0 {
			t.Fatalf("openssl s_client %v: exit %d: %s%s", args, code, out, errs)
		}
		return out
	}
	for _, door := range [][]string{{"-connect", reverse}, {"-proxy", forward, "-connect", "one.test:443"}} {
		t.Run("openssl "+door[0], func(t *testing.T) {
			need(t, "openssl")
			session := filepath.Join(t.TempDir(), "session")
			first := openssl(t, append(door, "-tls1_3", "-sess_out", session)...)
			again := openssl(t, append(door, "-tls1_3", "-sess_in", session)...)
			if !strings.Contains(first, "New, TLSv1.3") || !strings.Contains(again, "Reused, TLSv1.3") {
				t.Errorf("TLS 1.3: not New and then Reused:\n%s\n%s", first, again)
			}
			// -reconnect comes five times more with the session's own id.
			all := openssl(t, append(door, "-tls1_2", "-reconnect")...)
			if n := strings.Count(all, "Reused, TLSv1.2"); n != 5 {
				t.Errorf("TLS 1.2, -reconnect: %d of 5 reused:\n%s", n, all)
			}
		})
	}
}

// BenchmarkIntercepted opens connections through a forward door of the real program,
// each with CONNECT, a TLS handshake and one answer, eight at a time: to hosts that are
// new, known, and resumed; by clients with the key exchange of OpenSSL 3.0 (curl of
// Debian 12) and with today's hybrid one (Go, browsers). Their work is on the same cores.
func BenchmarkIntercepted(b *testing.B) {
	s := newStage(b)
	a, forward, _ := s.anyHost(b)
	var serial atomic.Int64
	fresh := func() string { return fmt.Sprintf("h%d.test", serial.Add(1)) }
	known := func() string { return "known.test" }
	for _, client := range []struct {
		name   string
		curves []tls.CurveID
	}{{"X25519", []tls.CurveID{tls.X25519}}, {"hybrid", nil}} {
		for _, way := range []struct {
			name  string
			host  func() string
			cache tls.ClientSessionCache
		}{{"new", fresh, nil}, {"known", known, nil}, {"resumed", known, tls.NewLRUClientSessionCache(64)}} {
			b.Run(client.name+"/"+way.name, func(b *testing.B) {
				before := processTime(b, a.cmd.Process.Pid)
				b.SetParallelism(4)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						// What the client verifies would be measured, too.
						cfg := &tls.Config{ServerName: way.host(), InsecureSkipVerify: true, ClientSessionCache: way.cache, CurvePreferences: client.curves}
						if _, err := connect(forward, cfg); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "conns/s")
				b.ReportMetric(float64((processTime(b, a.cmd.Process.Pid)-before).Microseconds())/float64(b.N), "proxy-µs/conn")
			})
		}
	}
}

// processTime is the CPU time of a process so far.
func processTime(b *testing.B, pid int) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil { // clock_getcpuclockid(3)
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
