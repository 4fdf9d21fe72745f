//go:build linux

package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/understudy-proxy/understudy/internal/gateway"
)

func TestStaticGoProgram(t *testing.T) {
	_, out := run(t, gateway.Options{}, "get", "http://shop.example.test/a", "http://SHOP.example.test:8081/b", "http://other/c")
	equal(t, "answers", out, "shop.example.test:80/a\nshop.example.test:8081/b\nother:80/c")
}

func TestHardCodedAddresses(t *testing.T) {
	r, out := run(t, gateway.Options{}, "get", "http://93.184.216.34/a", "http://[2001:db8::7]:8443/b", "http://10.0.0.1:5000/c")
	equal(t, "answers", out, "93.184.216.34:80/a\n[2001:db8::7]:8443/b\n10.0.0.1:5000/c")
	if len(r.Listeners()) != 4 {
		t.Errorf("%d listeners, want 4: two families, outside and loopback", len(r.Listeners()))
	}
}

func TestRealClients(t *testing.T) {
	for name, argv := range map[string][]string{
		"curl": {"curl", "-sS", "http://shop.test/a"},
		"wget": {"wget", "-qO-", "http://shop.test/a"},
		"python3": {"python3", "-c", `import urllib.request as u
print(u.urlopen("http://shop.test/a").read().decode(), end="")`},
		"node": {"node", "-e", `require("http").get("http://shop.test/a", r => r.pipe(process.stdout))`},
	} {
		t.Run(name, func(t *testing.T) {
			need(t, name)
			r := capture(t, gateway.Options{Argv: argv, Env: append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")})
			equal(t, "answer", r.output(0), "shop.test:80/a")
		})
	}
}

// Java uses IPv6 sockets with IPv4 addresses mapped into them.
func TestJava(t *testing.T) {
	need(t, "java")
	if testing.Short() {
		t.Skip("slow to start")
	}
	program := filepath.Join(t.TempDir(), "Get.java")
	source := `public class Get { public static void main(String[] a) throws Exception {
		new java.net.URI("http://shop.test/a").toURL().openStream().transferTo(System.out); } }`
	if err := os.WriteFile(program, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	r := capture(t, gateway.Options{Argv: []string{"java", program}})
	equal(t, "answer", r.output(0), "shop.test:80/a")
}

func TestAnyResolverIsAnsweredByUs(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		for _, server := range []string{"8.8.8.8", "2001:4860:4860::8888", "127.0.0.53", "127.0.0.1", "::1"} {
			t.Run(network+" "+server, func(t *testing.T) {
				r, out := run(t, gateway.Options{}, "dns", network, server, "db.internal", "A")
				addr, _ := r.Address("db.internal")
				equal(t, "answer", out, "Success "+addr.String())
				if name, ok := r.Name(addr); name != "db.internal" || !ok {
					t.Errorf("Name(%s) = %q %v", addr, name, ok)
				}
			})
		}
	}
}

// What is sent to the command over IPv6 finds it from its first moment: its address is in
// the table of local ones, of which the kernel takes care some time after it was told.
func TestIPv6AddressIsThereAtOnce(t *testing.T) {
	const own = "fd756e64657273740000000000000002 80 "
	for range 40 {
		r := capture(t, gateway.Options{Argv: []string{"cat", "/proc/net/ipv6_route"}})
		if len(r.Listeners()) < 4 {
			t.Skip("no IPv6 here")
		}
		if routes := r.output(0); !strings.Contains(routes, own) {
			t.Fatal("no route to the command's own address:\n" + routes)
		}
		_ = r.Close()
	}
}

// deciding is a Resolver that a table describes.
type deciding map[string]gateway.Reply

func (d deciding) Resolve(_ context.Context, q gateway.Question) gateway.Reply { return d[q.Name] }

func TestResolverDecides(t *testing.T) {
	o := gateway.Options{Resolver: deciding{"gone.test": gateway.NoSuchName, "ill.test": gateway.ServerFails}}
	for name, want := range map[string]string{"gone.test": "NameError", "ill.test": "ServerFailure"} {
		_, out := run(t, o, "dns", "udp", "9.9.9.9", name, "A")
		equal(t, name, out, want)
	}
	_, out := run(t, o, "dns", "udp", "9.9.9.9", "fine.test", "AAAA")
	equal(t, "AAAA of fine.test", out, "Success")
}

func TestOtherUDPIsRefusedAtOnceAndCounted(t *testing.T) {
	r, out := run(t, gateway.Options{}, "udp", "8.8.8.8:443", "[2001:db8::1]:443", "8.8.8.8:443")
	equal(t, "refused", out, "8.8.8.8:443 true\n[2001:db8::1]:443 true\n8.8.8.8:443 true")
	got := fmt.Sprint(r.RefusedUDP())
	if want := "[{8.8.8.8:443  2} {[2001:db8::1]:443  1}]"; got != want {
		t.Errorf("RefusedUDP() = %s, want %s", got, want)
	}
}

// hostServer is a dependency on the host's loopback.
func hostServer(t *testing.T, network, on string) (port string) {
	l, err := net.Listen(network, on)
	if err != nil {
		t.Skip("no such loopback on the host: ", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "host") })}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// What listens on the host's loopback is captured; what does not is refused to
// the command as it would be outside, if the kernel can ask first.
func TestDependencyOnTheHostsLoopback(t *testing.T) {
	four, six := hostServer(t, "tcp4", "127.0.0.1:0"), hostServer(t, "tcp6", "[::1]:0")
	r, out := run(t, gateway.Options{}, "get", "http://127.0.0.1:"+four+"/a", "http://localhost:"+four+"/b", "http://[::1]:"+six+"/c")
	equal(t, "answers", out, "localhost:"+four+"/a\nlocalhost:"+four+"/b\nlocalhost:"+six+"/c")
	if !r.Asks() {
		t.Skip("this kernel has no NFQUEUE")
	}
	told := make(chan string, 8)
	o := gateway.Options{Refused: func(conn gateway.Connection) { told <- conn.To.String() }}
	_, out = run(t, o, "dial", "127.0.0.1:1", "[::1]:1", "127.0.0.1:"+four)
	refused := []string{<-told, <-told} // before the command was
	slices.Sort(refused)
	equal(t, "told of as refused", strings.Join(refused, " "), "127.0.0.1:1 [::1]:1")
	if len(told) > 0 {
		t.Error("told of more: ", <-told)
	}
	equal(t, "dialled", out, "127.0.0.1:1 refused\n[::1]:1 refused\n127.0.0.1:"+four+" connected")
}

// A name in /etc/hosts keeps its address, and is known by it.
func TestNameInHostsFile(t *testing.T) {
	hosts := []byte("127.0.0.1 localhost\n10.9.8.7 legacy.internal legacy\n")
	_, out := run(t, gateway.Options{Files: []gateway.File{{Path: "/etc/hosts", Content: hosts}}}, "get", "http://legacy.internal/a")
	equal(t, "answer", out, "10.9.8.7:80/a") // the name is looked up in the host's file, which has none
}

// The command's own listener wins over the host's on the same port.
func TestOwnListenerWins(t *testing.T) {
	port := hostServer(t, "tcp4", "127.0.0.1:0")
	for _, on := range []string{"127.0.0.1:", "0.0.0.0:", ":"} {
		r, out := run(t, gateway.Options{}, "own", on+port, "127.0.0.1:"+port, "localhost:"+port)
		equal(t, "answers", out, "own")
		if len(r.seen) != 0 {
			t.Errorf("captured %v", r.seen)
		}
	}
	// The same port elsewhere is captured all the same.
	_, out := run(t, gateway.Options{}, "get", "http://192.0.2.1:"+port+"/")
	equal(t, "answer", out, "192.0.2.1:"+port+"/")
}

func TestAdmissionIsAskedBeforeTheHandshake(t *testing.T) {
	asked := make(chan gateway.Connection, 16)
	o := gateway.Options{Admission: func(_ context.Context, c gateway.Connection) gateway.Admission {
		asked <- c
		if c.To.Port() == 81 {
			return gateway.Refuse
		}
		return gateway.Admit
	}}
	r, out := run(t, o, "dial", "known.test:80", "known.test:81", "[2001:db8::1]:81", "127.0.0.1:81")
	if !r.Asks() {
		t.Skip("this kernel has no NFQUEUE")
	}
	equal(t, "dialled", out, "known.test:80 connected\nknown.test:81 refused\n[2001:db8::1]:81 refused\n127.0.0.1:81 refused")
	c := <-asked
	addr, _ := r.Address("known.test")
	if c.Host != "known.test" || c.To != netip.AddrPortFrom(addr, 80) || c.Loopback {
		t.Errorf("asked about %+v", c)
	}
}

func TestPublish(t *testing.T) {
	for _, on := range []string{"127.0.0.1:4321", "[::1]:4321", ":4321"} {
		t.Run(on, func(t *testing.T) {
			var o gateway.Options
			o.Publish = []gateway.Publish{{On: netip.MustParseAddrPort("127.0.0.1:0"), Port: 4321}}
			o.Argv, o.Env = as("serve", on)
			r := capture(t, o)
			if line := make([]byte, len("listening\n")); true {
				if _, err := io.ReadFull(r.out, line); err != nil {
					t.Fatal(err)
				}
			}
			conn, err := net.Dial("tcp", r.Published()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "hello")
			_ = conn.(*net.TCPConn).CloseWrite()
			text, err := io.ReadAll(conn)
			if err != nil || string(text) != "heard hello" {
				t.Errorf("answer %q, %v", text, err)
			}
			r.output(0)
			if len(r.seen) != 0 {
				t.Errorf("captured %v", r.seen)
			}
		})
	}
}

// A published port where nothing listens is reset, and leads nowhere else: not
// back to itself through the host's loopback.
func TestPublishedButNotServed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	on := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	r := sh(t, gateway.Options{Publish: []gateway.Publish{{On: on, Port: on.Port()}}}, "read line; exit 0")
	conn, err := net.Dial("tcp", on.String())
	if err == nil { // the reset may come before Dial has seen that it is connected
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("where nothing serves: %v, want a reset", err)
	}
	if len(r.seen) != 0 {
		t.Errorf("captured %v", r.seen)
	}
}

func TestNested(t *testing.T) {
	r, out := run(t, gateway.Options{}, "nested", "http://inner.test/a", "http://192.0.2.9:81/b")
	equal(t, "answers", out, "inner.test:80/a\n192.0.2.9:81/b")
	if got := strings.Join(r.seen, " "); got != "inner.test:80/a 192.0.2.9:81/b" {
		t.Errorf("the outer gateway saw %s", got)
	}
}

// What listens on the host's loopback is within reach of a captured capture's command,
// and what does not is refused there, too, before it is accepted.
func TestNestedLoopback(t *testing.T) {
	there, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	at := strings.Replace(there.Addr().String(), "127.0.0.1", "localhost", 1)
	r, out := run(t, gateway.Options{}, "nested", "http://"+there.Addr().String()+"/a")
	equal(t, "answers", out, at+"/a")
	if got := strings.Join(r.seen, " "); got != at+"/a" {
		t.Errorf("the outer gateway saw %s", got)
	}
	o := gateway.Options{}
	o.Argv, o.Env = as("nested", "http://"+gone.Addr().String()+"/b")
	if said := capture(t, o).output(1); !strings.Contains(said, "connection refused") {
		t.Errorf("a port where nobody listens: %s, want it refused", said)
	}
}

func TestProbe(t *testing.T) {
	for _, f := range gateway.Probe(t.Context()) {
		t.Logf("%+v", f)
		if !f.OK && f.Needed {
			t.Errorf("%s: %s", f.Step, f.Detail)
		}
	}
}
