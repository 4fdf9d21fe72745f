package rules

import (
	"strings"
	"time"
)

// uses says what an expression needs to be evaluated.
type uses uint8

const (
	usesHost     uses = 1 << iota // request.host, which the door may know too
	usesRequest                   // anything else of the request
	usesBody                      // the request's body
	usesResponse                  // the response's head
	usesName                      // the name that is resolved
	usesTraffic                   // who connects, and the load
)

// name is one name of the expressions' environment. Each becomes a function of
// the scope: the compiler binds it at load, so that nothing is looked up by
// name or by reflection at run time.
type name struct {
	uses      uses
	signature any // a pointer to the function's type; the scope comes first
	call      bool
	get       func(s *scope, arg string) any // nil for request.json, which takes a path parsed at load
}

type (
	asString   = func(any) string
	asInt      = func(any) int
	asFloat    = func(any) float64
	asDuration = func(any) time.Duration
	lookUp     = func(any, string) string
	lookUpAll  = func(any, string) []string
	lookUpPath = func(any, *jsonPath) any
)

// names is the environment. docs/rules.md describes each; a test holds the two
// together.
var names = map[string]name{
	"request.method": {usesRequest, new(asString), false, func(s *scope, _ string) any { return s.in.Request.Method }},
	"request.scheme": {usesRequest, new(asString), false, func(s *scope, _ string) any { return s.in.Request.Scheme }},
	"request.host":   {usesHost, new(asString), false, func(s *scope, _ string) any { return s.host }},
	"request.port":   {usesRequest, new(asInt), false, func(s *scope, _ string) any { return s.port() }},
	"request.path":   {usesRequest, new(asString), false, func(s *scope, _ string) any { return s.path }},
	"request.target": {usesRequest, new(asString), false, func(s *scope, _ string) any { return s.in.Request.Target }},
	"request.url":    {usesRequest, new(asString), false, func(s *scope, _ string) any { return s.in.Request.URL() }},
	"request.proto":  {usesRequest, new(asString), false, func(s *scope, _ string) any { return s.in.Request.Proto }},
	"request.size":   {usesRequest, new(asInt), false, func(s *scope, _ string) any { return s.requestSize() }},
	"request.query":  {usesRequest, new(lookUp), true, func(s *scope, a string) any { return s.query(a) }},
	"request.header": {usesRequest, new(lookUp), true, func(s *scope, a string) any { return s.in.Request.Header.Get(a) }},
	"request.headers": {usesRequest, new(lookUpAll), true, func(s *scope, a string) any {
		return s.in.Request.Header.Values(a)
	}},
	"request.cookie": {usesRequest, new(lookUp), true, func(s *scope, a string) any { return s.cookie(a) }},
	"request.body": {usesRequest | usesBody, new(asString), false, func(s *scope, _ string) any {
		return s.body()
	}},
	"request.json": {usesRequest | usesBody, new(lookUpPath), true, nil},

	"response.status": {usesResponse, new(asInt), false, func(s *scope, _ string) any { return s.response().Status }},
	"response.header": {usesResponse, new(lookUp), true, func(s *scope, a string) any { return s.response().Header.Get(a) }},
	"response.headers": {usesResponse, new(lookUpAll), true, func(s *scope, a string) any {
		return s.response().Header.Values(a)
	}},
	"response.size": {usesResponse, new(asInt), false, func(s *scope, _ string) any { return s.responseSize() }},
	"response.ttfb": {usesResponse, new(asDuration), false, func(s *scope, _ string) any { return s.in.TTFB }},

	"dns.name": {usesName, new(asString), false, func(s *scope, _ string) any { return s.name }},

	"client.ip":     {usesTraffic, new(asString), false, func(s *scope, _ string) any { return s.in.Client }},
	"client.door":   {usesTraffic, new(asString), false, func(s *scope, _ string) any { return s.in.Door }},
	"load.inflight": {usesTraffic, new(asInt), false, func(s *scope, _ string) any { return s.in.InFlight }},
	"load.rate":     {usesTraffic, new(asFloat), false, func(s *scope, _ string) any { return s.in.Rate }},
	"match.count":   {0, new(asInt), false, func(s *scope, _ string) any { return int(s.matched) }},
	"elapsed":       {0, new(asDuration), false, func(s *scope, _ string) any { return s.in.Elapsed }},
	"rand":          {0, new(asFloat), true, func(s *scope, _ string) any { return s.draw() }},
}

// groups are the first parts of the dotted names, with the second parts.
var groups = groupNames()

func groupNames() map[string][]string {
	groups := map[string][]string{}
	for n := range names {
		if group, member, dotted := strings.Cut(n, "."); dotted {
			groups[group] = append(groups[group], member)
		}
	}
	return groups
}

// internalName is what a name is called inside the compiled program. The
// leading dot keeps it out of reach of what a person can write.
func internalName(n string) string { return "." + n }
