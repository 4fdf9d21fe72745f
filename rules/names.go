package rules

import (
	"fmt"
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
	uses uses
	call bool // it is written with parentheses
	of   any  // what tells it of a scope, one of the types below; nil for request.json, which takes a path parsed at load
}

type (
	textOf   = func(*scope) string
	wholeOf  = func(*scope) int
	realOf   = func(*scope) float64
	spanOf   = func(*scope) time.Duration
	textFor  = func(*scope, string) string
	textsFor = func(*scope, string) []string
)

// names is the environment. docs/rules.md describes each; a test holds the two
// together.
var names = map[string]name{
	"request.method":  {usesRequest, false, func(s *scope) string { return s.in.Request.Method }},
	"request.scheme":  {usesRequest, false, func(s *scope) string { return s.in.Request.Scheme }},
	"request.host":    {usesHost, false, func(s *scope) string { return s.host }},
	"request.port":    {usesRequest, false, func(s *scope) int { return s.port() }},
	"request.path":    {usesRequest, false, func(s *scope) string { return s.path }},
	"request.target":  {usesRequest, false, func(s *scope) string { return s.in.Request.Target }},
	"request.url":     {usesRequest, false, func(s *scope) string { return s.in.Request.URL() }},
	"request.proto":   {usesRequest, false, func(s *scope) string { return s.in.Request.Proto }},
	"request.size":    {usesRequest, false, func(s *scope) int { return s.requestSize() }},
	"request.query":   {usesRequest, true, func(s *scope, key string) string { return s.query(key) }},
	"request.header":  {usesRequest, true, func(s *scope, key string) string { return s.in.Request.Header.Get(key) }},
	"request.headers": {usesRequest, true, func(s *scope, key string) []string { return s.in.Request.Header.Values(key) }},
	"request.cookie":  {usesRequest, true, func(s *scope, key string) string { return s.cookie(key) }},
	"request.body":    {usesRequest | usesBody, false, func(s *scope) string { return s.body() }},
	"request.json":    {usesRequest | usesBody, true, nil},

	"response.status":  {usesResponse, false, func(s *scope) int { return s.response().Status }},
	"response.header":  {usesResponse, true, func(s *scope, key string) string { return s.response().Header.Get(key) }},
	"response.headers": {usesResponse, true, func(s *scope, key string) []string { return s.response().Header.Values(key) }},
	"response.size":    {usesResponse, false, func(s *scope) int { return s.responseSize() }},
	"response.ttfb":    {usesResponse, false, func(s *scope) time.Duration { return s.in.TTFB }},

	"dns.name": {usesName, false, func(s *scope) string { return s.name }},

	"client.ip":     {usesTraffic, false, func(s *scope) string { return s.in.Client }},
	"client.door":   {usesTraffic, false, func(s *scope) string { return s.in.Door }},
	"load.inflight": {usesTraffic, false, func(s *scope) int { return s.in.InFlight }},
	"load.rate":     {usesTraffic, false, func(s *scope) float64 { return s.in.Rate }},
	"match.count":   {0, false, func(s *scope) int { return int(s.matched) }},
	"elapsed":       {0, false, func(s *scope) time.Duration { return s.in.Elapsed }},
	"rand":          {0, true, func(s *scope) float64 { return s.draw() }},
}

// function is a name as the VM calls it, with the scope first, and a pointer to its
// type, for the checker. known is how it is written.
func (n name) function(known string) (call func(params ...any) (any, error), signature any) {
	switch of := n.of.(type) {
	case textOf:
		return boxed(of), new(func(any) string)
	case wholeOf:
		return boxed(of), new(func(any) int)
	case realOf:
		return boxed(of), new(func(any) float64)
	case spanOf:
		return boxed(of), new(func(any) time.Duration)
	case textFor:
		return boxedFor(known, of), new(func(any, string) string)
	case textsFor:
		return boxedFor(known, of), new(func(any, string) []string)
	}
	return func(params ...any) (any, error) {
		return params[0].(*scope).json(params[1].(*jsonPath)), nil
	}, new(func(any, *jsonPath) any)
}

func boxed[T any](of func(*scope) T) func(...any) (any, error) {
	return func(params ...any) (any, error) { return of(params[0].(*scope)), nil }
}

func boxedFor[T any](known string, of func(*scope, string) T) func(...any) (any, error) {
	return func(params ...any) (any, error) {
		key, ok := params[1].(string)
		if !ok {
			return nil, fmt.Errorf("%s: want a text, got %T", known, params[1])
		}
		return of(params[0].(*scope), key), nil
	}
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
