package ca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock set by hand.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func newAuthority(t testing.TB) (*Authority, *clock) {
	t.Helper()
	c := newClock()
	a, err := load(filepath.Join(t.TempDir(), "ca"), c.now)
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}

func pool(a *Authority) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Certificate())
	return p
}

func TestLoadMakesOnceAndPrivately(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "ca")
	first, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if first.Fingerprint() != second.Fingerprint() {
		t.Errorf("second Load made another authority")
	}
	for file, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, secretName): 0o600, first.CertPath(): 0o644} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s = %04o, want %04o", file, got, want)
		}
	}
	public, _ := os.ReadFile(first.CertPath())
	if bytes.Contains(public, []byte("PRIVATE")) {
		t.Error("the public file holds a private key")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if cn := first.Certificate().Subject.CommonName; !strings.HasPrefix(cn, "understudy CA (") || !strings.Contains(cn, "@") {
		t.Errorf("common name = %q, want understudy CA (user@host)", cn)
	}
}

func TestLoadAtOnceAgrees(t *testing.T) {
	for range 10 {
		dir := filepath.Join(t.TempDir(), "ca")
		prints := make([]string, 8)
		var wg sync.WaitGroup
		for i := range prints {
			wg.Go(func() {
				a, err := Load(dir)
				if err != nil {
					t.Error(err)
					return
				}
				prints[i] = a.Fingerprint()
			})
		}
		wg.Wait()
		if got := slices.Compact(prints); len(got) != 1 {
			t.Fatalf("authorities = %v, want one", got)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	secret := func(dir string) string { return filepath.Join(dir, secretName) }
	public := func(dir string) string { return filepath.Join(dir, publicName) }
	write := func(t *testing.T, file string, data []byte) {
		t.Helper()
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(t *testing.T, file string) []byte {
		t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	other, _ := newAuthority(t)
	tests := []struct {
		name, want string
		harm       func(t *testing.T, dir string)
		later      time.Duration
	}{
		{"torn", "want a PRIVATE KEY first", func(t *testing.T, d string) { write(t, secret(d), read(t, secret(d))[:50]) }, 0},
		{"empty", "want a PRIVATE KEY first", func(t *testing.T, d string) { write(t, secret(d), nil) }, 0},
		{"no certificate", "want one CERTIFICATE", func(t *testing.T, d string) { write(t, secret(d), read(t, secret(d))[:260]) }, 0},
		{"another's certificate", "belongs to another key", func(t *testing.T, d string) {
			key, _, _ := bytes.Cut(read(t, secret(d)), []byte("-----BEGIN CERT"))
			write(t, secret(d), append(key, read(t, other.CertPath())...))
		}, 0},
		{"open key", "chmod 600", func(t *testing.T, d string) { os.Chmod(secret(d), 0o640) }, 0},
		{"open directory", "chmod go-w", func(t *testing.T, d string) { os.Chmod(d, 0o777) }, 0},
		{"another's public file", "is not the certificate in", func(t *testing.T, d string) { write(t, public(d), read(t, other.CertPath())) }, 0},
		{"lost key", "its key", func(t *testing.T, d string) { os.Remove(secret(d)) }, 0},
		{"key is a directory", "ca-key.pem", func(t *testing.T, d string) { os.Remove(secret(d)); os.Mkdir(secret(d), 0o700) }, 0},
		{"expired", "expired at 2028-", func(*testing.T, string) {}, authorityLife + time.Hour},
		{"from the future", "set the clock", func(*testing.T, string) {}, -48 * time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, c := newAuthority(t)
			tt.harm(t, a.dir)
			c.advance(tt.later)
			_, err := load(a.dir, c.now)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Load = %v, want an error with %q", err, tt.want)
			}
		})
	}
	t.Run("missing public file is written again", func(t *testing.T) {
		a, c := newAuthority(t)
		os.Remove(a.CertPath())
		if _, err := load(a.dir, c.now); err != nil {
			t.Fatal(err)
		}
		if certs, err := parseCerts(read(t, a.CertPath())); err != nil || !certs[0].Equal(a.Certificate()) {
			t.Errorf("public file = %v, %v, want the authority's certificate", certs, err)
		}
	})
}

func TestLeafVerifies(t *testing.T) {
	a, c := newAuthority(t)
	for host, want := range map[string]string{
		"api.example.test": "api.example.test", "API.Example.Test.": "api.example.test",
		"api.example.test:8443": "api.example.test", "localhost": "localhost",
		"my_service": "my_service", "xn--bcher-kva.example": "xn--bcher-kva.example",
		"127.0.0.1": "127.0.0.1", "127.0.0.1:80": "127.0.0.1", "::1": "::1", "[::1]": "::1", "[::1]:443": "::1",
		"::ffff:10.0.0.1": "10.0.0.1",
		strings.Repeat("a", 63) + "." + strings.Repeat("b", 63): strings.Repeat("a", 63) + "." + strings.Repeat("b", 63),
	} {
		cert, err := a.Leaf(host)
		if err != nil {
			t.Errorf("Leaf(%q): %v", host, err)
			continue
		}
		_, err = cert.Leaf.Verify(x509.VerifyOptions{DNSName: want, Roots: pool(a), CurrentTime: c.now()})
		if err != nil {
			t.Errorf("Leaf(%q) for %q: %v", host, want, err)
		}
		if _, err = cert.Leaf.Verify(x509.VerifyOptions{DNSName: "other.test", Roots: pool(a), CurrentTime: c.now()}); err == nil {
			t.Errorf("Leaf(%q) is good for other.test", host)
		}
	}
}

func TestLeafRefuses(t *testing.T) {
	a, _ := newAuthority(t)
	for _, host := range []string{
		"", ".", "bücher.example", "*.example.test", "a b", "a..b", "-a.test", "a-.test", "a/b", "user@host",
		"fe80::1%eth0", "a\x00b", "[::1", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 127) + "test", ":443",
	} {
		var he *HostError
		if cert, err := a.Leaf(host); !errors.As(err, &he) || cert != nil {
			t.Errorf("Leaf(%q) = %v, %v, want *HostError", host, cert, err)
		}
	}
	if n := a.leaves.order.Len(); n != 0 {
		t.Errorf("refused hosts in the cache = %d, want 0", n)
	}
}

func TestLeafIsRenewedBeforeItExpires(t *testing.T) {
	a, c := newAuthority(t)
	first, _ := a.Leaf("a.test")
	c.advance(leafLife - leafMargin - time.Second)
	if same, _ := a.Leaf("a.test"); same != first {
		t.Error("minted anew while more than a day was left")
	}
	c.advance(time.Second)
	renewed, err := a.Leaf("a.test")
	if err != nil || renewed == first {
		t.Fatalf("not minted anew with a day left (%v)", err)
	}
	// At the authority's own end a leaf ends with it, and then there are none.
	c.advance(authorityLife - 8*24*time.Hour)
	last, err := a.Leaf("a.test")
	if err != nil || !last.Leaf.NotAfter.Equal(a.cert.NotAfter) {
		t.Fatalf("leaf ends at %v (%v), want the authority's %v", last.Leaf.NotAfter, err, a.cert.NotAfter)
	}
	c.advance(3 * 24 * time.Hour)
	if _, err := a.Leaf("b.test"); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("Leaf after the authority's end = %v, want expired", err)
	}
}

func TestCacheIsBoundedAndKeepsTheUsed(t *testing.T) {
	c := newCache(3)
	now := newClock().now()
	minted := map[string]int{}
	get := func(name string) {
		c.get(name, now, func() (*tls.Certificate, error) { minted[name]++; return &tls.Certificate{}, nil })
	}
	for _, name := range []string{"a", "b", "c", "a", "d", "a", "b"} {
		get(name)
	}
	if want := map[string]int{"a": 1, "b": 2, "c": 1, "d": 1}; fmt.Sprint(minted) != fmt.Sprint(want) {
		t.Errorf("minted = %v, want %v", minted, want)
	}
	if len(c.byName) != 3 || c.order.Len() != 3 {
		t.Errorf("cache holds %d names, %d entries, want 3", len(c.byName), c.order.Len())
	}
}

func TestCacheMintsOnceForAll(t *testing.T) {
	c := newCache(10)
	now := newClock().now()
	var minted atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			c.get("a", now, func() (*tls.Certificate, error) { minted.Add(1); return &tls.Certificate{}, nil })
		})
	}
	wg.Wait()
	if got := minted.Load(); got != 1 {
		t.Errorf("minted %d times, want 1", got)
	}
	boom := errors.New("boom")
	if _, err := c.get("b", now, func() (*tls.Certificate, error) { return nil, boom }); err != boom {
		t.Errorf("get = %v, want boom", err)
	}
	if cert, err := c.get("b", now, func() (*tls.Certificate, error) { return &tls.Certificate{}, nil }); err != nil || cert == nil {
		t.Errorf("get after an error = %v, %v, want a certificate", cert, err)
	}
}

// shake does a handshake over a real connection, reads one byte so that a TLS
// 1.3 ticket has come, and returns the client's state.
func shake(t testing.TB, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan struct{})
	go func() { // ends when the client's connection is closed
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		s := tls.Server(c, server)
		defer s.Close()
		s.Write([]byte("x"))
		io.Copy(io.Discard, s)
	}()
	defer func() { <-done }()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	c := tls.Client(raw, client)
	if err := c.Handshake(); err != nil {
		return tls.ConnectionState{}, err
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return tls.ConnectionState{}, err
	}
	return c.ConnectionState(), nil
}

func TestHandshakes(t *testing.T) {
	a, c := newAuthority(t)
	cfg := a.TLSConfig("")
	for _, host := range []string{"one.test", "two.test"} {
		state, err := shake(t, cfg, &tls.Config{ServerName: host, RootCAs: pool(a), Time: c.now, NextProtos: []string{"h2", "http/1.1"}})
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		if state.NegotiatedProtocol != "h2" {
			t.Errorf("%s: protocol = %q, want h2", host, state.NegotiatedProtocol)
		}
	}
	// Clients send no name for an address: the fallback stands in.
	for _, authority := range []string{"127.0.0.1:8443", "[::1]:443"} {
		host, _, _ := net.SplitHostPort(authority)
		if _, err := shake(t, a.TLSConfig(authority), &tls.Config{ServerName: host, RootCAs: pool(a), Time: c.now}); err != nil {
			t.Errorf("%s: %v", authority, err)
		}
	}
	if _, err := shake(t, cfg, &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Error("a client without a name, and no fallback: handshake went through")
	}
	if _, err := shake(t, cfg, &tls.Config{ServerName: "one.test", Time: c.now, RootCAs: x509.NewCertPool()}); err == nil {
		t.Error("a client that does not trust the authority: handshake went through")
	}
	state, err := shake(t, a.TLSConfig("", "http/1.1"), &tls.Config{ServerName: "one.test", RootCAs: pool(a), Time: c.now, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil || state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("protocol = %q (%v), want http/1.1", state.NegotiatedProtocol, err)
	}
}

func TestSessionsResumeWhateverTheConfiguration(t *testing.T) {
	a, c := newAuthority(t)
	shared := a.TLSConfig("")
	servers := map[string]func() *tls.Config{
		"shared":   func() *tls.Config { return shared },
		"one each": func() *tls.Config { return a.TLSConfig("one.test:443") },
		"cloned":   func() *tls.Config { return shared.Clone() },
		"from a client hello": func() *tls.Config {
			return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return shared.Clone(), nil }}
		},
	}
	for name, server := range servers {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+"/"+tls.VersionName(version), func(t *testing.T) {
				client := &tls.Config{ServerName: "one.test", RootCAs: pool(a), Time: c.now, MaxVersion: version,
					ClientSessionCache: tls.NewLRUClientSessionCache(4)}
				for i, want := range []bool{false, true, true} {
					state, err := shake(t, server(), client)
					if err != nil {
						t.Fatal(err)
					}
					if state.DidResume != want {
						t.Errorf("connection %d: DidResume = %v, want %v", i, state.DidResume, want)
					}
				}
			})
		}
	}
}

func TestHandshakesAtOnce(t *testing.T) {
	a, c := newAuthority(t)
	cfg := a.TLSConfig("")
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			host := fmt.Sprintf("h%d.test", i%10)
			if _, err := shake(t, cfg, &tls.Config{ServerName: host, RootCAs: pool(a), Time: c.now}); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		})
	}
	wg.Wait()
	if got := a.leaves.order.Len(); got != 10 {
		t.Errorf("leaves in the cache = %d, want 10", got)
	}
}

func TestCurlTrustsIt(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl on this machine")
	}
	a, err := Load(t.TempDir()) // curl has the real clock
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", a.TLSConfig("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "trusted") })}
	go server.Serve(ln) // ends at Close below
	defer server.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for _, host := range []string{"api.example.test", "127.0.0.1"} {
		out, err := exec.Command(curl, "-sS", "--noproxy", "*", "--cacert", a.CertPath(),
			"--resolve", "api.example.test:"+port+":127.0.0.1", "https://"+host+":"+port+"/").CombinedOutput()
		if err != nil || string(out) != "trusted" {
			t.Errorf("curl https://%s: %v: %s", host, err, out)
		}
	}
}
