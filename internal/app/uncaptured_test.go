package app

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/recorder"
)

func TestNothingCaptured(t *testing.T) {
	one := []gateway.RefusedUDP{{To: netip.MustParseAddrPort("10.0.0.1:443"), Datagrams: 2}}
	for name, c := range map[string]struct {
		command   []string
		namespace bool
		opened    uint64
		asked     uint64
		udp       []gateway.RefusedUDP
		want      string // "" for nothing to say
	}{
		"something was":    {[]string{"curl"}, true, 1, 1, nil, ""},
		"no command":       {nil, false, 0, 0, nil, ""},
		"variables":        {[]string{"node"}, false, 0, 0, nil, "--capture namespace"},
		"a daemon":         {[]string{"sh", "-c", "cd x && /usr/bin/docker run a"}, true, 0, 0, nil, "docker lets a program"},
		"names and no TCP": {[]string{"dig"}, true, 0, 3, nil, "it asked for 3 names, of which rules refused 1"},
		"UDP":              {[]string{"quic"}, true, 0, 0, one, "it sent UDP"},
		"nothing at all":   {[]string{"true"}, true, 0, 0, nil, "it made no connection"},
	} {
		p := &parts{o: Options{Command: c.command}, inNamespace: c.namespace, refusedUDP: c.udp}
		snap := recorder.Snapshot{Connections: recorder.ConnTotals{Opened: c.opened}, Names: recorder.NameTotals{Asked: c.asked}}
		if c.asked > 0 {
			snap.Names.Refused = map[fixtures.NameFault]uint64{fixtures.NameUnknown: 1}
		}
		var b bytes.Buffer
		tellNothing(&b, p.nothingCaptured(&snap))
		if got := b.String(); c.want == "" && got != "" || !strings.Contains(got, c.want) ||
			c.want != "" && !strings.Contains(got, "NOTHING WAS CAPTURED") {
			t.Errorf("%s: told %q, want %q", name, got, c.want)
		}
	}
}

func TestUntrustingClients(t *testing.T) {
	l := recorder.NewLedger(0)
	away := func(n int, c recorder.Connection) {
		for range n {
			l.ConnOpened()
			l.ConnClosed(c)
		}
	}
	away(2, recorder.Connection{Host: "a.test", Protocol: "tls", Fate: recorder.Dropped, Reason: "EOF", Untrusted: true})
	away(3, recorder.Connection{Host: "a.test", Protocol: "tls", Fate: recorder.Dropped, Reason: "bad record MAC", Untrusted: true})
	away(1, recorder.Connection{Host: "a.test", Protocol: "tls", Fate: recorder.Dropped, Reason: "no cipher"})
	away(4, recorder.Connection{Host: "127.0.0.1:7001", Protocol: "tls", Fate: recorder.Dropped, Reason: "EOF", Untrusted: true})
	for i := range rowsShown - 1 {
		away(1, recorder.Connection{Host: fmt.Sprintf("b%d.test\x1b", i), Protocol: "tls", Fate: recorder.Dropped, Reason: "EOF", Untrusted: true})
	}
	snap := l.Snapshot()
	all := untrustingClients(&snap, "/roots.pem", []string{"127.0.0.1:7001"})
	if len(all) != 1+rowsShown || all[0].Host != "a.test" || all[0].Connections != 5 || !strings.Contains(all[0].Remedy, "--pass a.test") {
		t.Errorf("untrusting clients = %+v, want a.test first with 5", all)
	}
	if door := all[1]; door.Host != "127.0.0.1:7001" || strings.Contains(door.Remedy, "--pass") || !strings.Contains(door.Remedy, "--tcp") {
		t.Errorf("behind a reverse door: %+v, want --tcp as the way around", door)
	}
	var b bytes.Buffer
	tellUntrusting(&b, all, "/roots.pem", []string{"127.0.0.1:7001"})
	got := b.String()
	for _, want := range []string{"a.test  5 connections  --pass a.test", "127.0.0.1:7001  4 connections  --tcp", "b0.test?", "and 1 more", "docs/tls.md", "SSL_CERT_FILE", "to /roots.pem"} {
		if !strings.Contains(got, want) {
			t.Errorf("told %q, want %q in it", got, want)
		}
	}
}

// A recording tells for which hosts it has no answers, and is silent where there are none.
func TestTellUnrecorded(t *testing.T) {
	l := recorder.NewLedger(0)
	told := func() string {
		var b bytes.Buffer
		snap := l.Snapshot()
		tellUnrecorded(&b, &snap)
		return b.String()
	}
	away := func(host, protocol string, fate recorder.Fate) {
		l.ConnOpened()
		l.ConnClosed(recorder.Connection{Host: host, Protocol: protocol, Fate: fate})
	}
	away("pinned.test:443", "tls", recorder.Passed)
	away("gone.test:5432", "raw", recorder.Dropped)
	if got := told(); got != "" {
		t.Errorf("told %q, want nothing", got)
	}
	for i := range rowsShown + 2 {
		away(fmt.Sprintf("db%d.test:5432", i), "raw", recorder.Passed)
	}
	if got := told(); !strings.Contains(got, "no answer for db0.test:5432, db1") || !strings.Contains(got, "and 2 more") || !strings.Contains(got, "--on-miss forward") {
		t.Errorf("told %q, want the hosts and the remedy", got)
	}
}

func TestRefusedUDPByDestination(t *testing.T) {
	at := netip.MustParseAddrPort
	got := fmt.Sprint(byDestination([]gateway.RefusedUDP{
		{To: at("198.18.0.1:443"), Host: "quic.test", Datagrams: 2}, {To: at("198.18.0.9:443"), Host: "quic.test", Datagrams: 1},
		{To: at("[2001:db8::1]:53"), Datagrams: 9}, {Datagrams: 4},
	}))
	if want := "[{[2001:db8::1]:53 9} { 4} {quic.test:443 3}]"; got != want {
		t.Errorf("byDestination = %s, want %s", got, want)
	}
}
