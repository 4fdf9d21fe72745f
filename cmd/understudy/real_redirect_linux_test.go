package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/internal/nstest"
)

// TestRedirection proves the transparent door in a network namespace of its own:
// what other processes send to a machine elsewhere comes, with where it was going;
// our own does not; and the rules go, whatever ends the program.
func TestRedirection(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program; left out under -short")
	}
	if !nstest.Inside(t) {
		return
	}
	w := newWorld(t)
	t.Run("record", w.testRecord)
	t.Run("replay", w.testReplay)
	t.Run("direct", w.testDirect)
	t.Run("killed", w.testKilled)
	t.Run("sidecar", w.testSidecar)
	t.Run("command", w.testCommand)
}

// world is a program, and servers elsewhere that tell what they are asked.
type world struct {
	*stage
	cassette string
	roots    *x509.CertPool // understudy's CA alone
}

const (
	elsewhere4 = "203.0.113.9"
	elsewhere6 = "2001:db8:9::9"
)

func newWorld(t *testing.T) *world {
	w := &world{stage: newStage(t), roots: x509.NewCertPool()}
	w.cassette = filepath.Join(w.home, "cassette")
	pem, err := os.ReadFile(w.caFile)
	if err != nil || !w.roots.AppendCertsFromPEM(pem) {
		t.Fatalf("the CA's certificate: %v", err)
	}
	tells := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		local := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		_, _ = fmt.Fprintf(rw, "%s asked for %s by %s", local, r.Host, r.RemoteAddr[:strings.LastIndex(r.RemoteAddr, ":")])
	})
	nstest.Elsewhere(t, func() error {
		for _, at := range []string{elsewhere4, elsewhere6} {
			for _, port := range []string{"80", "443"} {
				ln, err := net.Listen("tcp", net.JoinHostPort(at, port))
				if err != nil {
					return err
				}
				s := httptest.NewUnstartedServer(tells)
				_ = s.Listener.Close()
				s.Listener = ln
				if port == "443" {
					s.StartTLS()
				} else {
					s.Start()
				}
				t.Cleanup(s.Close)
			}
		}
		return nil
	})
	return w
}

// ask fetches a URL without a proxy. A name leads elsewhere, at addr.
func (w *world) ask(url, addr string) (string, error) {
	tr := &http.Transport{
		Proxy: nil, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: w.roots},
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(to)
			if err != nil {
				return nil, err
			}
			if _, err := netip.ParseAddr(host); err != nil {
				to = net.JoinHostPort(addr, port)
			}
			return (&net.Dialer{}).DialContext(ctx, network, to)
		},
	}
	resp, err := (&http.Client{Transport: tr, Timeout: 20 * time.Second}).Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// want asks and compares. The answer names whom the connection reached, by what
// Host, and from where: the other end sees this machine's own address.
func (w *world) want(t *testing.T, url, addr, want string) {
	t.Helper()
	if got, err := w.ask(url, addr); err != nil || got != want {
		t.Errorf("GET %s at %s = %q, %v, want %q", url, addr, got, err, want)
	}
}

// wantAll asks for everything that leads elsewhere.
func (w *world) wantAll(t *testing.T) {
	t.Helper()
	w.want(t, "http://203.0.113.9/a", "", "203.0.113.9:80 asked for 203.0.113.9 by 192.0.2.1")
	w.want(t, "http://[2001:db8:9::9]/a", "", "[2001:db8:9::9]:80 asked for [2001:db8:9::9] by [2001:db8:1::1]")
	w.want(t, "http://api.test/a", elsewhere4, "203.0.113.9:80 asked for api.test by 192.0.2.1")
	w.want(t, "https://api.test/a", elsewhere4, "203.0.113.9:443 asked for api.test by 192.0.2.1")
	w.want(t, "https://six.test/a", elsewhere6, "[2001:db8:9::9]:443 asked for six.test by [2001:db8:1::1]")
}

// wantTables compares this namespace's tables of rules.
func wantTables(t *testing.T, when string, want ...string) {
	t.Helper()
	if got := nstest.Tables(t); !slices.Equal(got, want) {
		t.Errorf("tables %s = %v, want %v", when, got, want)
	}
}

func (w *world) testRecord(t *testing.T) {
	a := w.start(t, "record", "-o", w.cassette, "--transparent", "127.0.0.1:0", "--install-rules", "--set", "upstream.insecure=true")
	table, _ := a.wait(t, "rules_installed")["table"].(string)
	wantTables(t, "while it runs", table)
	w.wantAll(t)
	// Its other doors are left alone.
	admin, _ := a.wait(t, "admin")["url"].(string)
	if got, err := w.ask(admin+"/healthz", ""); err != nil || !strings.Contains(got, "ok") {
		t.Errorf("GET /healthz = %q, %v, want ok", got, err)
	}
	if code := a.stop(t); code != 0 {
		t.Errorf("exit %d after SIGTERM, want 0:\n%s", code, a.stderr.String())
	}
	wantTables(t, "after SIGTERM")
	r := a.report(t)
	if c := r.Ledger.Connections; c.Captured != 5 || c.Opened != 5 {
		t.Errorf("connections %+v, want 5 captured and no other: none of our own\n%s", c, a.stderr.String())
	}
	if found, err := cassette.Verify(w.cassette); err != nil || len(found) > 0 {
		t.Errorf("Verify = %v, %v, want nothing amiss", found, err)
	}
	w.want(t, "http://api.test/a", elsewhere4, "203.0.113.9:80 asked for api.test by 192.0.2.1")
}

// testReplay answers what testRecord recorded, wherever the names lead now.
func (w *world) testReplay(t *testing.T) {
	a := w.start(t, "replay", "-f", w.cassette, "--transparent", "[::]:0", "--install-rules")
	w.want(t, "http://api.test/a", "198.51.100.77", "203.0.113.9:80 asked for api.test by 192.0.2.1")
	w.want(t, "https://six.test/a", "2001:db8:77::7", "[2001:db8:9::9]:443 asked for six.test by [2001:db8:1::1]")
	if code := a.stop(t); code != 0 {
		t.Errorf("exit %d, want 0:\n%s", code, a.stderr.String())
	}
}

// testDirect connects to the door itself.
func (w *world) testDirect(t *testing.T) {
	a := w.start(t, "proxy", "--transparent", "127.0.0.1:0")
	nc, err := net.Dial("tcp", a.address(t, "transparent", ""))
	if err == nil {
		// Where the reset is there already the write tells it, and the read no more.
		if _, err = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"); err == nil {
			var got []byte
			if got, err = io.ReadAll(nc); len(got) > 0 {
				t.Errorf("a direct connection is answered with %q, want a reset", got)
			}
		}
		_ = nc.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a direct connection ends with %v, want a reset", err)
	}
	a.stop(t)
	if c := a.report(t).Ledger.Connections; c.Dropped != 1 {
		t.Errorf("connections %+v, want 1 dropped", c)
	}
	if want := "itself, which takes only what nft or iptables redirect to it"; !strings.Contains(a.stderr.String(), want) {
		t.Errorf("the log lacks %q:\n%s", want, a.stderr.String())
	}
}

// testKilled ends the program so that it cannot clean up.
func (w *world) testKilled(t *testing.T) {
	a := w.start(t, "proxy", "--transparent", "127.0.0.1:0", "--install-rules", "--set", "upstream.insecure=true")
	installed := a.wait(t, "rules_installed")
	w.want(t, "http://203.0.113.9/a", "", "203.0.113.9:80 asked for 203.0.113.9 by 192.0.2.1")
	if err := a.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-a.ended
	if byKernel, _ := installed["removed_by_kernel"].(bool); !byKernel {
		t.Skip("SKIPPED: this kernel does not take rules away with their owner (Linux 5.12)")
	}
	wantTables(t, "after SIGKILL")
	w.want(t, "http://203.0.113.9/a", "", "203.0.113.9:80 asked for 203.0.113.9 by 192.0.2.1")
}

// testSidecar runs the program without any power, beside rules that another set,
// as deploy/ has it.
func (w *world) testSidecar(t *testing.T) {
	const user = 65532
	if os.Getuid() != 0 || !mayBecome(user) {
		t.Skip("SKIPPED: only root in the machine's own user namespace can become another user")
	}
	pod := manifest(t, "kubernetes/sidecar.yaml")
	t.Run("understudy redirect", func(t *testing.T) {
		w.sidecar(t, user, pod.args("understudy"), func() {
			if out, errs, code := w.command(t, nil, w.bin, pod.args("understudy-rules")...); code != 0 {
				t.Fatalf("redirect: exit %d\n%s%s", code, out, errs)
			}
		})
	})
	t.Run("nft", func(t *testing.T) {
		path := need(t, "nft")[0]
		w.sidecar(t, user, pod.args("understudy"), func() {
			if out, errs, code := w.command(t, nil, path, "-f", "../../deploy/nftables/sidecar.nft"); code != 0 {
				t.Fatalf("nft: exit %d\n%s%s", code, out, errs)
			}
		})
	})
}

// sidecar runs the program as a user, with rules that another sets.
func (w *world) sidecar(t *testing.T, user int, args []string, rules func()) {
	home := t.TempDir()
	// The user must get to both.
	for _, dir := range []string{home, filepath.Dir(home), filepath.Dir(filepath.Dir(home)), w.home, filepath.Dir(w.home)} {
		if dir == os.TempDir() {
			continue
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(home, user, user); err != nil {
		t.Fatal(err)
	}
	for i := range args {
		args[i] = strings.Replace(args[i], "/cassettes/", home+"/", 1)
	}
	sidecar := &stage{bin: w.bin, home: home, user: user}
	a := sidecar.start(t, append(args, "--set", "upstream.insecure=true")...)
	rules()
	wantTables(t, "with the rules", "understudy-redirect")
	w.want(t, "http://203.0.113.9/a", "", "203.0.113.9:80 asked for 203.0.113.9 by 192.0.2.1")
	w.want(t, "http://[2001:db8:9::9]/a", "", "[2001:db8:9::9]:80 asked for [2001:db8:9::9] by [2001:db8:1::1]")
	if got, err := w.ask("http://192.0.2.1:9900/readyz", ""); err != nil || !strings.Contains(got, "ready") {
		t.Errorf("the probe gets %q, %v, want ready", got, err)
	}
	a.stop(t)
	if c := a.report(t).Ledger.Connections; c.Captured != 2 || c.Opened != 2 {
		t.Errorf("connections %+v, want 2 captured and no other\n%s", c, a.stderr.String())
	}
	if _, err := w.ask("http://203.0.113.9/a", ""); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without the sidecar: %v, want connection refused: nothing gets past it", err)
	}
	if out, errs, code := w.command(t, nil, w.bin, "redirect", "--remove"); code != 0 {
		t.Fatalf("redirect --remove: exit %d\n%s%s", code, out, errs)
	}
	wantTables(t, "after --remove")
}

// mayBecome reports whether this user namespace has a user.
func mayBecome(uid int) bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	var first, host, count int
	if err == nil {
		_, err = fmt.Sscan(string(data), &first, &host, &count)
	}
	return err == nil && uid >= first && uid < first+count
}

// testCommand runs a command that trusts our authority and knows no proxy.
func (w *world) testCommand(t *testing.T) {
	curl := need(t, "curl")[0]
	out, errs, code := w.command(t, nil, w.bin, "proxy", "--transparent", "127.0.0.1:0", "--install-rules", "--set", "upstream.insecure=true", "--",
		curl, "-q", "-sS", "--resolve", "api.test:443:203.0.113.9", "https://api.test/a")
	if want := "203.0.113.9:443 asked for api.test by 192.0.2.1"; code != 0 || out != want {
		t.Errorf("curl says %q, exit %d, want %q\n%s", out, code, want, errs)
	}
	wantTables(t, "after the command")
}
