package main

import (
	"fmt"
	"strconv"
	"time"
)

// Names that the targets refer to.
const (
	nameDirect   = "direct"
	nameHAProxy  = "HAProxy (http)"
	nameHATCP    = "HAProxy (tcp)"
	nameHATLS    = "HAProxy, TLS to TLS"
	nameToxi     = "Toxiproxy, no toxics"
	nameReturn   = "nginx return"
	nameUs       = "understudy proxy --reverse"
	nameUsRecord = "understudy record --reverse"
	nameUsRules  = "understudy, 100 rules, 1 matches"
	nameUsTCP    = "understudy proxy --tcp"
	nameUsTLS    = "understudy, TLS intercepted"
	nameUsTLSRec = "understudy record, TLS intercepted"
	nameUsReplay = "understudy replay"
	nameUsStub   = "understudy replay, delay"
	nameUsDelay  = "understudy proxy, rule with delay"
	namePaced    = "no delay: nginx return, the clients pause"
)

// groups lists what is measured. A quick run has fewer connections, and
// leaves out what takes minutes to start.
func groups(o options) []group {
	all, large, some := []int{1, 16, 64}, []int{1, 16, 64}, []int{1, 64}
	if o.quick {
		all, large = []int{64}, []int{16}
	}
	http1 := all
	if o.quick {
		http1 = some
	}
	const warm = time.Second
	// A JVM has compiled its hot path only after some seconds.
	const warmJVM = 4 * time.Second
	many := []subject{
		{name: nameReturn, start: nginxStub(false, o.stubs), warm: warm},
		{name: nameUsReplay, start: usReplay(o.stubs), warm: warm},
	}
	if !o.quick {
		// Of 100,000 mappings in a file WireMock had not started after four
		// minutes.
		n := min(o.stubs, 10_000)
		many = append(many, subject{name: fmt.Sprintf("WireMock with %s stubs", thousands(strconv.Itoa(n))), start: wiremock(n, 0), warm: warmJVM})
	}
	proxies := func(path string, slow bool) []subject {
		s := []subject{
			{name: nameDirect, start: direct(false, path), bare: true},
			{name: nameHAProxy, start: haproxy("http", false, path), warm: warm},
			{name: "nginx proxy_pass", start: nginxProxy(false, path), warm: warm},
			{name: "net/http/httputil.ReverseProxy", start: stdReverse(false, path), warm: warm},
			{name: "goproxy, plain forward", start: goproxyForward(path), warm: warm},
		}
		if slow {
			s = append(s, subject{name: "mitmproxy", start: mitmproxy(false, path), warm: warm})
		}
		s = append(s,
			subject{name: nameUs, start: usReverse(false, path), warm: warm},
			subject{name: "understudy proxy --forward", start: usForward(path), warm: warm},
			subject{name: nameUsRecord, start: usRecord(false, path), warm: warm, fresh: true})
		if path == smallPath {
			s = append(s, subject{name: nameUsRules, start: usRules(path), warm: warm})
		}
		return s
	}
	secure := func(path string, slow bool) []subject {
		s := []subject{
			{name: nameDirect, start: direct(true, path), bare: true},
			{name: nameHATLS, start: haproxy("http", true, path), warm: warm},
			{name: "nginx, TLS to TLS", start: nginxProxy(true, path), warm: warm},
			{name: "net/http/httputil.ReverseProxy", start: stdReverse(true, path), warm: warm},
		}
		if slow {
			s = append(s, subject{name: "mitmproxy", start: mitmproxy(true, path), warm: warm})
		}
		return append(s,
			subject{name: nameUsTLS, start: usReverse(true, path), warm: warm},
			subject{name: nameUsTLSRec, start: usRecord(true, path), warm: warm, fresh: true})
	}
	tcp := func(path string) []subject {
		return []subject{
			{name: nameDirect, start: direct(false, path), bare: true},
			{name: nameHATCP, start: haproxy("tcp", false, path), warm: warm},
			{name: nameToxi, start: toxiproxy(path, false), warm: warm},
			{name: nameUsTCP, start: usTCP(path), warm: warm},
		}
	}
	return []group{
		{name: "http-1k", title: "Proxies: HTTP/1.1, 1 KiB", ref: nameHAProxy, conns: http1, size: smallSize, subjects: proxies(smallPath, true)},
		{name: "http-1m", title: "Proxies: HTTP/1.1, 1 MiB", ref: nameHAProxy, conns: large, size: largeSize, subjects: proxies(largePath, !o.quick)},
		{name: "tls-1k", title: "Proxies: TLS to TLS, HTTP/1.1, 1 KiB", ref: nameHATLS, conns: all, size: smallSize, subjects: secure(smallPath, true)},
		{name: "tls-1m", title: "Proxies: TLS to TLS, HTTP/1.1, 1 MiB", ref: nameHATLS, conns: large, size: largeSize, subjects: secure(largePath, !o.quick)},
		{name: "tcp-1k", title: "Proxies: raw TCP, 1 KiB", ref: nameHATCP, conns: all, size: smallSize, subjects: tcp(smallPath)},
		{name: "tcp-1m", title: "Proxies: raw TCP, 1 MiB", ref: nameHATCP, conns: large, size: largeSize, subjects: tcp(largePath)},
		{
			name: "stub-1", title: "Stubs: one stub, 1 KiB", ref: nameReturn, conns: all, size: smallSize,
			subjects: []subject{
				{name: nameReturn, start: nginxStub(false, 1), warm: warm},
				{name: "nginx static file", start: nginxStub(true, 1), warm: warm},
				{name: "WireMock", start: wiremock(1, 0), warm: warmJVM},
				{name: "mountebank", start: mountebank(0), warm: warm},
				{name: nameUsReplay, start: usReplay(1), warm: warm},
			},
		},
		{
			name: "stub-many", title: fmt.Sprintf("Stubs: %s stubs, 1 KiB", thousands(strconv.Itoa(o.stubs))), ref: nameReturn, conns: all, size: smallSize,
			note:     "A thousand paths spread over all stubs are asked in turn; nginx gives its one answer to any path.",
			subjects: many,
		},
		{
			name: "delay", title: fmt.Sprintf("A delay of %v", askDelay), conns: some, size: smallSize, asked: askDelay,
			note: "What the client sees beyond the delay that was asked, its own round trip included. What that is where nobody delays, and the client itself waits as long between its requests, is the first row.",
			subjects: []subject{
				{name: namePaced, start: nginxStub(false, 1), paced: true},
				{name: "Toxiproxy, latency", start: toxiproxy(smallPath, true), warm: warm},
				{name: "WireMock, fixedDelay", start: wiremock(1, askDelay), warm: warmJVM},
				{name: "mountebank, wait", start: mountebank(askDelay), warm: warm},
				{name: nameUsStub, start: usDelayStub(askDelay), warm: warm},
				{name: nameUsDelay, start: usDelayRule(smallPath, askDelay), warm: warm},
			},
		},
		{
			name: "delay-many", title: fmt.Sprintf("A delay of %v, for very many at once", longDelay), conns: []int{manyConns}, size: smallSize,
			asked: longDelay, seconds: 15, think: thinking,
			note: fmt.Sprintf("As above; each client pauses up to %v before it asks again. Toxiproxy is not asked: it keeps a connection to the upstream for each of its clients, more than nginx and the limit of descriptors allow.", thinking),
			subjects: []subject{
				{name: namePaced, start: nginxStub(false, 1), paced: true},
				{name: "WireMock, fixedDelay", start: wiremock(1, longDelay)},
				{name: "mountebank, wait", start: mountebank(longDelay)},
				{name: nameUsStub, start: usDelayStub(longDelay)},
				{name: nameUsDelay, start: usDelayRule(smallPath, longDelay)},
			},
		},
	}
}
