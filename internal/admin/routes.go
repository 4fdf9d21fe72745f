package admin

import (
	"net/http"
	"slices"
	"strings"
)

// route is one path with its methods.
type route struct {
	path    string
	open    bool // asks for no token
	methods map[string]http.HandlerFunc
}

func (a *api) routes() []route {
	get := func(h http.HandlerFunc) map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{http.MethodGet: h}
	}
	post := func(h http.HandlerFunc) map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{http.MethodPost: h}
	}
	return []route{
		{"/healthz", true, get(a.health)},
		{"/readyz", true, get(a.ready)},
		{"/openapi.json", true, get(a.openapi)},
		{"/metrics", a.OpenMetrics, get(a.metrics)},
		{"/v1/status", false, get(a.status)},
		{"/v1/ledger", false, get(a.ledger)},
		{"/v1/exchanges", false, get(a.exchanges)},
		{"/v1/misses", false, get(a.misses)},
		{"/v1/link", false, get(a.link)},
		{"/v1/rules", false, get(a.listRules)},
		{"/v1/rules/{name}", false, map[string]http.HandlerFunc{http.MethodPut: a.setRule}},
		{"/v1/chaos", false, post(a.setChaos)},
		{"/v1/scenarios/reset", false, post(a.resetScenarios)},
	}
}

// newHandler is the whole way of a request: Host, Origin, route, token, method.
func newHandler(o Options, bound string) http.Handler {
	a := &api{Options: o}
	g := &guard{token: newSecret(o.Token), bound: strings.ToLower(bound), allowRemote: o.AllowRemote}
	for _, h := range o.Hosts {
		g.hosts = append(g.hosts, strings.ToLower(h))
	}
	mux := http.NewServeMux()
	for _, rt := range a.routes() {
		mux.HandleFunc(rt.path, func(w http.ResponseWriter, r *http.Request) { rt.serve(g, w, r) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		// Strangers do not learn which paths there are.
		if g.checkToken(w, r) {
			writeProblem(w, http.StatusNotFound, "no such path: GET /openapi.json lists them")
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if g.checkHost(w, r) && g.checkOrigin(w, r) {
			mux.ServeHTTP(w, r)
		}
	})
}

func (rt *route) serve(g *guard, w http.ResponseWriter, r *http.Request) {
	if !rt.open && !g.checkToken(w, r) {
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http drops the body
	}
	h, ok := rt.methods[method]
	if !ok {
		allow := rt.allow()
		w.Header().Set("Allow", allow)
		writeProblem(w, http.StatusMethodNotAllowed, "this path takes "+allow)
		return
	}
	h(w, r)
}

func (rt *route) allow() string {
	var names []string
	for m := range rt.methods {
		names = append(names, m)
		if m == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
