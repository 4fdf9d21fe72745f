package dns

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var server = netip.MustParseAddr("8.8.8.8")

// question is a query as a stub resolver sends it, EDNS and all.
func question(t testing.TB, name string, kind dnsmessage.Type) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 77, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: kind, Class: dnsmessage.ClassINET}},
	}
	var h dnsmessage.ResourceHeader
	if err := h.SetEDNS0(4096, dnsmessage.RCodeSuccess, true); err != nil {
		t.Fatal(err)
	}
	m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	out, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// text is an answer in short: code, then records.
func text(t testing.TB, answer []byte) string {
	t.Helper()
	if answer == nil {
		return "silence"
	}
	var m dnsmessage.Message
	if err := m.Unpack(answer); err != nil {
		t.Fatal(err)
	}
	if !m.Response || m.ID != 77 || len(m.Additionals) != 1 {
		t.Errorf("response %v, ID %d, %d additional records", m.Response, m.ID, len(m.Additionals))
	}
	out := []string{strings.TrimPrefix(m.RCode.String(), "RCode")}
	for _, a := range m.Answers {
		switch b := a.Body.(type) {
		case *dnsmessage.AResource:
			out = append(out, netip.AddrFrom4(b.A).String())
		case *dnsmessage.AAAAResource:
			out = append(out, netip.AddrFrom16(b.AAAA).String())
		case *dnsmessage.PTRResource:
			out = append(out, b.PTR.String())
		}
	}
	return strings.Join(out, " ")
}

func TestAnswers(t *testing.T) {
	a := &Answerer{Names: &Names{}, Own: []string{"Workstation"}, Decide: func(_ context.Context, q Question) Reply {
		return map[string]Reply{"gone.test": NoSuchName, "ill.test": ServerFails, "slow.test": Silence}[q.Name]
	}}
	for _, c := range []struct {
		name string
		kind dnsmessage.Type
		want string
	}{
		{"API.example.test", dnsmessage.TypeA, "Success 198.18.0.1"},
		{"api.example.test", dnsmessage.TypeA, "Success 198.18.0.1"},
		{"other.test", dnsmessage.TypeA, "Success 198.18.0.2"},
		{"api.example.test", dnsmessage.TypeAAAA, "Success"},
		{"api.example.test", dnsmessage.Type(65), "Success"}, // HTTPS
		{"api.example.test", dnsmessage.TypeMX, "Success"},
		{"1.0.18.198.in-addr.arpa", dnsmessage.TypePTR, "Success api.example.test."},
		{"9.0.18.198.in-addr.arpa", dnsmessage.TypePTR, "NameError"},
		{"1.0.0.127.in-addr.arpa", dnsmessage.TypePTR, "Success localhost."},
		{"localhost", dnsmessage.TypeA, "Success 127.0.0.1"},
		{"a.localhost", dnsmessage.TypeAAAA, "Success ::1"},
		{"workstation", dnsmessage.TypeA, "Success 127.0.0.1"},
		{"workstation", dnsmessage.TypeAAAA, "Success"},
		{"10.0.0.1", dnsmessage.TypeA, "NameError"},
		{"gone.test", dnsmessage.TypeA, "NameError"},
		{"ill.test", dnsmessage.TypeA, "ServerFailure"},
		{"slow.test", dnsmessage.TypeA, "silence"},
	} {
		if got := text(t, a.Answer(t.Context(), question(t, c.name, c.kind), server, false)); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.name, c.kind, got, c.want)
		}
	}
}

// For a decision a name comes in one form, with the server that was asked.
func TestDecisionSeesTheQuestion(t *testing.T) {
	var got Question
	a := &Answerer{Names: &Names{}, Decide: func(_ context.Context, q Question) Reply { got = q; return MakeUp }}
	a.Answer(t.Context(), question(t, "API.Test", dnsmessage.TypeA), server, true)
	if want := (Question{Name: "api.test", Type: 1, Server: server, TCP: true}); got != want {
		t.Errorf("decided about %+v, want %+v", got, want)
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &Answerer{Names: &Names{}}
	done := make(chan struct{})
	go func() { defer close(done); a.ServeTCP(t.Context(), l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one.test", "two.test"} { // one after the other on one connection
		q := question(t, name, dnsmessage.TypeA)
		_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...))
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, answer); err != nil {
			t.Fatal(err)
		}
		addr, _ := a.Names.Address(name)
		if got := text(t, answer); got != "Success "+addr.String() {
			t.Errorf("%s: %s, want %s", name, got, addr)
		}
	}
	// The listener's end ends the connections too.
	l.Close()
	<-done
	conn.Close()
}

// FuzzAnswer holds: whatever comes, an answer is a response to it that can be
// read, with its ID, its question and at most one record; a response is not
// answered; a made-up address leads back to the name.
func FuzzAnswer(f *testing.F) {
	f.Add(question(f, "api.test", dnsmessage.TypeA))
	f.Add(question(f, "1.0.18.198.in-addr.arpa", dnsmessage.TypePTR))
	f.Add([]byte{0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, message []byte) {
		a := &Answerer{Names: &Names{}}
		answer := a.Answer(context.Background(), message, server, false)
		if answer == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(answer); err != nil {
			t.Fatalf("an answer that cannot be read: %v", err)
		}
		if !m.Response || m.ID != binary.BigEndian.Uint16(message) || message[2]&0x80 != 0 || len(m.Answers) > 1 || len(answer) > payload {
			t.Fatalf("%+v", m)
		}
		if len(m.Questions) == 1 {
			var p dnsmessage.Parser
			_, _ = p.Start(message)
			if q, err := p.Question(); err != nil || q != m.Questions[0] {
				t.Fatalf("question %v became %v", q, m.Questions[0])
			}
		}
		for _, r := range m.Answers {
			if body, ok := r.Body.(*dnsmessage.AResource); ok && body.A[0] == 198 {
				if name, ok := a.Names.Name(netip.AddrFrom4(body.A)); !ok || name != canonical(m.Questions[0].Name.String()) {
					t.Fatalf("%v stands for %q", body.A, name)
				}
			}
		}
	})
}
