package admin

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// guard is what a request must pass before its route is looked at. Each check
// answers the request and returns false where it fails.
type guard struct {
	token       secret
	bound       string   // host of the listening address
	allowRemote bool     // Host may be any address
	hosts       []string // further names, in lower case
}

// checkHost refuses requests made for another name: a page of a stranger can
// point its own name at this address (DNS rebinding), but it cannot choose
// what the browser writes into Host.
func (g *guard) checkHost(w http.ResponseWriter, r *http.Request) bool {
	if g.ours(r.Host) {
		return true
	}
	writeProblem(w, http.StatusMisdirectedRequest,
		"the Host field names a stranger: ask for 127.0.0.1 or localhost, or add the name to admin.hosts")
	return false
}

func (g *guard) ours(authority string) bool {
	host := strings.ToLower(strings.TrimSuffix(hostOf(authority), "."))
	if host == "localhost" || host != "" && (host == g.bound || slices.Contains(g.hosts, host)) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	// With a remote address allowed any literal address will do: rebinding needs a name.
	return err == nil && (ip.Unmap().IsLoopback() || g.allowRemote)
}

func hostOf(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return strings.Trim(authority, "[]")
}

// checkOrigin refuses what a page of another origin sent.
func (g *guard) checkOrigin(w http.ResponseWriter, r *http.Request) bool {
	origins := r.Header.Values("Origin")
	same := len(origins) == 0 || len(origins) == 1 && strings.EqualFold(origins[0], "http://"+r.Host)
	site := r.Header.Get("Sec-Fetch-Site")
	if same && (site == "" || site == "same-origin" || site == "none") {
		return true
	}
	writeProblem(w, http.StatusForbidden, "the request comes from a page of another origin: send it without Origin, from a tool of your own")
	return false
}

// checkToken asks for the bearer token (RFC 6750, 2.1).
func (g *guard) checkToken(w http.ResponseWriter, r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") && g.token.is(strings.TrimSpace(token)) {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="understudy"`)
	detail := "send the token as Authorization: Bearer TOKEN; it is in the file that was named at start"
	if scheme != "" {
		detail = "the token is not this run's: it is in the file that was named at start"
	}
	writeProblem(w, http.StatusUnauthorized, detail)
	return false
}
