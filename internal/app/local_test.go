package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures"
)

// What was recorded, and stubs, tell on which ports of the loopback a replay has answers.
func TestLocalPorts(t *testing.T) {
	request := func(client, scheme, host string) func(*testing.T, *localPorts) {
		return func(_ *testing.T, l *localPorts) {
			l.addExchange(&fixtures.Exchange{Client: client, Request: fixtures.Request{Scheme: scheme, Host: host}})
		}
	}
	written := func(request string) func(*testing.T, *localPorts) {
		return func(t *testing.T, l *localPorts) {
			file := filepath.Join(t.TempDir(), "stub.yaml")
			if err := os.WriteFile(file, []byte("- {name: s, request: "+request+", response: {status: 200}}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			stubs, err := readStubs(file)
			if err != nil {
				t.Fatal(err)
			}
			l.addStub(stubs[0])
		}
	}
	for name, tt := range map[string]struct {
		add   func(*testing.T, *localPorts)
		ports string // of 80, 443, 7001 and 9999
	}{
		"localhost":                   {request("127.0.0.1", "http", "localhost:7001"), "7001"},
		"localhost, TLS, no port":     {request("::1", "https", "LOCALHOST"), "443"},
		"an address":                  {request("::1", "http", "[::1]:7001"), "7001"},
		"127.0.0.2, no port":          {request("127.0.0.1", "http", "127.0.0.2"), "80"},
		"a name over the link":        {request("198.19.255.2", "http", "shop.example"), ""},
		"the same by IPv6":            {request("fd75:6e64:6572:7374::2", "http", "shop.example:7001"), ""},
		"a name that /etc/hosts has":  {request("127.0.0.1", "http", "shop.local:7001"), "7001"},
		"a name that it may not have": {request("127.0.0.1", "http", "shop.local"), "80 443 7001 9999"},
		"from nobody knows where":     {request("", "https", "shop.example"), "80 443 7001 9999"},
		"a stub for any host":         {written("{path: /a}"), "80 443 7001 9999"},
		"a stub for localhost":        {written("{host: 'localhost:7001'}"), "7001"},
		"a stub without a port":       {written("{host: shop.example}"), "80 443"},
	} {
		t.Run(name, func(t *testing.T) {
			var l localPorts
			tt.add(t, &l)
			var got []string
			for _, port := range []int{80, 443, 7001, 9999} {
				if p := fmt.Sprint(port); l.has(p) {
					got = append(got, p)
				}
			}
			if s := strings.Join(got, " "); s != tt.ports {
				t.Errorf("ports %q, want %q", s, tt.ports)
			}
		})
	}
}
