package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mccutchen/go-httpbin/v2/httpbin"
)

// upstreamNames are the hosts that clients ask for; upstream.connect_to leads
// them to this machine while recording. In replay nothing does.
var upstreamNames = []string{"nginx.test", "python.test", "node.test", "httpbin.test"}

// identity is the certificate of the upstreams, by a CA that only they know.
type identity struct{ ca, cert, key string } // files

func newIdentity(t testing.TB, dir string) identity {
	t.Helper()
	id := identity{filepath.Join(dir, "upstream-ca.pem"), filepath.Join(dir, "upstream.pem"), filepath.Join(dir, "upstream.key")}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "upstreams' CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "upstreams"}, DNSNames: upstreamNames,
		NotBefore: root.NotBefore, NotAfter: root.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		id.ca: {Type: "CERTIFICATE", Bytes: rootDER}, id.cert: {Type: "CERTIFICATE", Bytes: leafDER}, id.key: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return id
}

// troupe are running upstreams.
type troupe struct {
	ports map[string]int // "http://nginx.test" → where it is on this machine
	stops []func()
}

// connectTo is the value of upstream.connect_to.
func (tr *troupe) connectTo() string {
	var parts []string
	for url, port := range tr.ports {
		host := strings.TrimPrefix(url, "http://") + ":80"
		if name, ok := strings.CutPrefix(url, "https://"); ok {
			host = name + ":443"
		}
		parts = append(parts, fmt.Sprintf("%q: \"127.0.0.1:%d\"", host, port))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func (tr *troupe) stop() {
	for _, f := range tr.stops {
		f()
	}
	tr.stops = nil
}

// upstreams starts the named ones, or all.
func (s *stage) upstreams(t *testing.T, names ...string) *troupe {
	t.Helper()
	if len(names) == 0 {
		names = upstreamNames
	}
	tr := &troupe{ports: map[string]int{}}
	t.Cleanup(tr.stop)
	for _, name := range names {
		switch name {
		case "nginx.test":
			s.startNginx(t, tr)
		case "python.test":
			s.startScript(t, tr, name, need(t, "python3")[0], "server.py")
		case "node.test":
			s.startScript(t, tr, name, need(t, "node")[0], "server.mjs")
		case "httpbin.test":
			s.startHTTPBin(t, tr)
		}
	}
	return tr
}

// run starts a server's process, which tr.stop ends.
func (tr *troupe) run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tr.stops = append(tr.stops, func() {
		cmd.Process.Kill()
		cmd.Wait() // its error is the kill
	})
}

// pageTime is when nginx's files were last changed; their entity tags follow from it.
var pageTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (s *stage) startNginx(t *testing.T, tr *troupe) {
	t.Helper()
	nginx := need(t, "nginx")[0]
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	if err := os.MkdirAll(filepath.Join(www, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	big := make([]byte, 2<<20)
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"page.html": []byte("<!doctype html><title>page</title>\n" + strings.Repeat("<p>A paragraph that repeats itself.\n", 200)),
		"style.css": []byte(strings.Repeat("p { margin: 0 }\n", 100)), "big.bin": big, "empty.txt": nil,
	} {
		path := filepath.Join(www, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, pageTime, pageTime); err != nil {
			t.Fatal(err)
		}
	}
	plain, secure := freePort(t), freePort(t)
	conf := strings.NewReplacer("DIR", dir, "PLAIN", fmt.Sprint(plain), "SECURE", fmt.Sprint(secure), "CERT", s.identity.cert, "KEY", s.identity.key).Replace(`
daemon off; master_process off; pid DIR/nginx.pid; error_log DIR/error.log;
events { worker_connections 512; }
http {
  access_log off; root DIR/www;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  types { text/html html; text/css css; application/octet-stream bin; }
  gzip on; gzip_types text/css; gzip_min_length 100;
  keepalive_requests 1000000;
  server {
    listen 127.0.0.1:PLAIN; listen 127.0.0.1:SECURE ssl http2;
    ssl_certificate CERT; ssl_certificate_key KEY;
    location = /repeat { add_header X-Repeat one; add_header X-Between b; add_header x-repeat two; return 200 "repeated\n"; }
    location = /none { return 204; }
    location = /away { return 302 /page.html?x=1; }
    location = /json { default_type application/json; return 200 '{"hello": "world"}'; }
  }
}`)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(nginx, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", file)
	tr.run(t, cmd)
	awaitPort(t, plain)
	awaitPort(t, secure)
	tr.ports["http://nginx.test"], tr.ports["https://nginx.test"] = plain, secure
}

// startScript starts an upstream that prints its two ports.
func (s *stage) startScript(t *testing.T, tr *troupe, name, interpreter, script string) {
	t.Helper()
	cmd := exec.Command(interpreter, helper(t, script), s.identity.cert, s.identity.key)
	cmd.Env = s.environ()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	tr.run(t, cmd)
	var plain, secure int
	if _, err := fmt.Fscan(out, &plain, &secure); err != nil {
		t.Fatalf("%s: no ports: %v", script, err)
	}
	go io.Copy(io.Discard, out) // ends with the process
	tr.ports["http://"+name], tr.ports["https://"+name] = plain, secure
}

func (s *stage) startHTTPBin(t *testing.T, tr *troupe) {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(s.identity.cert, s.identity.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"http", "https"} {
		server := httptest.NewUnstartedServer(httpbin.New())
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		if scheme == "http" {
			server.Start()
		} else {
			server.EnableHTTP2 = true
			server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
			server.StartTLS()
		}
		tr.ports[scheme+"://httpbin.test"] = server.Listener.Addr().(*net.TCPAddr).Port
		tr.stops = append(tr.stops, func() {
			server.CloseClientConnections()
			server.Close()
		})
	}
}

// awaitPort waits until somebody listens.
func awaitPort(t *testing.T, port int) {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens on %s: %v", addr, err)
		}
		<-time.After(5 * time.Millisecond)
	}
}
