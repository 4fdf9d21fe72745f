package dns

import (
	"context"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Question is a question of a client to a resolver.
type Question struct {
	Name string // lower case, without the final dot
	Type uint16 // as DNS counts: 1 is A, 28 is AAAA
	// Server is the resolver that was asked, though it never heard of it.
	Server netip.Addr
	TCP    bool
}

// Reply is what becomes of a question.
type Reply int

// The replies. MakeUp answers A with a made-up address and other types with no
// records. AAAA among them: a client that prefers IPv6 must not be led to an
// address that seems to work because everything here can be connected to.
const (
	MakeUp      Reply = iota
	NoSuchName        // NXDOMAIN
	ServerFails       // SERVFAIL
	Silence           // no answer: the client's own timeout
)

// seconds is how long a client may keep an answer: short, so that a rule that
// refuses the name takes hold.
const seconds = 1

// payload is the UDP size told to clients that speak EDNS. Answers here stay far below.
const payload = 1232

// Answerer turns questions into answers.
type Answerer struct {
	Names *Names
	// Decide is asked about each name that is not this machine's own; nil makes up
	// all of them. It may take its time.
	Decide func(context.Context, Question) Reply
	// Own are the names of this machine besides localhost; they are at 127.0.0.1.
	Own []string
}

// Answer returns the answer to a message, with its ID and question, or nil if
// there is to be none: because it is no question, or by decision.
func (a *Answerer) Answer(ctx context.Context, message []byte, server netip.Addr, tcp bool) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(message)
	if err != nil || head.Response {
		return nil
	}
	reply := dnsmessage.Header{
		ID: head.ID, Response: true, OpCode: head.OpCode,
		RecursionDesired: head.RecursionDesired, RecursionAvailable: true, CheckingDisabled: head.CheckingDisabled,
	}
	if head.OpCode != 0 {
		reply.RCode = dnsmessage.RCodeNotImplemented
		return build(reply, nil, nil, false)
	}
	questions, err := p.AllQuestions()
	if err != nil || len(questions) != 1 {
		reply.RCode = dnsmessage.RCodeFormatError
		return build(reply, nil, nil, false)
	}
	q := &questions[0]
	body, code, silent := a.resolve(ctx, q, server, tcp)
	if silent {
		return nil
	}
	reply.RCode = code
	return build(reply, q, body, extended(&p))
}

// resolve decides about one question. A nil body with success means: no such records.
func (a *Answerer) resolve(ctx context.Context, q *dnsmessage.Question, server netip.Addr, tcp bool) (body dnsmessage.ResourceBody, code dnsmessage.RCode, silent bool) {
	name := canonical(q.Name.String())
	wantsA := q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeALL
	switch {
	case q.Class != dnsmessage.ClassINET && q.Class != dnsmessage.ClassANY:
		return nil, dnsmessage.RCodeRefused, false
	case name == "":
		return nil, dnsmessage.RCodeSuccess, false
	case name == "localhost" || strings.HasSuffix(name, ".localhost"): // RFC 6761
		switch {
		case wantsA:
			body = &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}
		case q.Type == dnsmessage.TypeAAAA:
			body = &dnsmessage.AAAAResource{AAAA: netip.IPv6Loopback().As16()}
		}
		return body, dnsmessage.RCodeSuccess, false
	case strings.HasSuffix(name, ".arpa"):
		return a.reverse(name, q.Type)
	case numeric(name):
		return nil, dnsmessage.RCodeNameError, false
	}
	for _, own := range a.Own {
		if name == canonical(own) {
			if wantsA {
				body = &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}
			}
			return body, dnsmessage.RCodeSuccess, false
		}
	}
	decision := MakeUp
	if a.Decide != nil {
		decision = a.Decide(ctx, Question{Name: name, Type: uint16(q.Type), Server: server, TCP: tcp})
	}
	switch {
	case decision == Silence:
		return nil, 0, true
	case decision == NoSuchName:
		return nil, dnsmessage.RCodeNameError, false
	case decision == ServerFails:
		return nil, dnsmessage.RCodeServerFailure, false
	case !wantsA:
		return nil, dnsmessage.RCodeSuccess, false
	}
	addr, ok := a.Names.Address(name)
	if !ok {
		return nil, dnsmessage.RCodeServerFailure, false
	}
	return &dnsmessage.AResource{A: addr.As4()}, dnsmessage.RCodeSuccess, false
}

// reverse answers the question for the name of an address.
func (a *Answerer) reverse(name string, kind dnsmessage.Type) (dnsmessage.ResourceBody, dnsmessage.RCode, bool) {
	labels, ok := strings.CutSuffix(name, ".in-addr.arpa")
	if !ok {
		return nil, dnsmessage.RCodeNameError, false
	}
	parts := strings.Split(labels, ".")
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	addr, err := netip.ParseAddr(strings.Join(parts, "."))
	if err != nil {
		return nil, dnsmessage.RCodeNameError, false
	}
	host, ok := a.Names.Name(addr)
	if addr.IsLoopback() {
		host, ok = "localhost", true
	}
	target, err := dnsmessage.NewName(host + ".")
	if !ok || err != nil {
		return nil, dnsmessage.RCodeNameError, false
	}
	if kind != dnsmessage.TypePTR && kind != dnsmessage.TypeALL {
		return nil, dnsmessage.RCodeSuccess, false
	}
	return &dnsmessage.PTRResource{PTR: target}, dnsmessage.RCodeSuccess, false
}

// numeric reports whether a name is an address, which no server knows.
func numeric(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

// extended reports whether the rest of a message has an OPT record: whether the
// client speaks EDNS.
func extended(p *dnsmessage.Parser) bool {
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return false
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return false
		}
		if h.Type == dnsmessage.TypeOPT {
			return true
		}
		if p.SkipAdditional() != nil {
			return false
		}
	}
}

// build writes an answer; nil if it cannot be written.
func build(head dnsmessage.Header, q *dnsmessage.Question, body dnsmessage.ResourceBody, edns bool) []byte {
	m := dnsmessage.Message{Header: head}
	if q != nil {
		m.Questions = []dnsmessage.Question{*q}
	}
	if body != nil {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: seconds}, Body: body,
		}}
	}
	if edns {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(payload, dnsmessage.RCodeSuccess, false); err == nil {
			m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
		}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}
