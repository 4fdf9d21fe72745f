package app

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/recorder"
)

// What the report says of a captured command beyond the ledger's account: what
// came nowhere near it, and why that may be.

// rowsShown bounds each list, so that the report stays on one screen.
const rowsShown = 5

// deputies are programs that hand their work to one that runs already, outside.
var deputies = []string{
	"docker", "docker-compose", "nerdctl", "ctr", "crictl", "machinectl", "lxc", "incus", // containers
	"systemctl", "systemd-run", "at", "batch", "snap", // services
	"gradle", "gradlew", "mvnd", "bazel", "bazelisk", "sbt", "watchman", // build daemons
	"tmux", "screen", "code", "emacsclient", "firefox", "chromium", "google-chrome", // an instance that is open
}

// nothingCaptured says why nothing of a command may have come; nil where something
// did, or there is no command.
func (p *parts) nothingCaptured(snap *recorder.Snapshot) (why []string) {
	if len(p.o.Command) == 0 || snap.Connections.Opened > 0 {
		return nil
	}
	if !p.inNamespace {
		return []string{
			"the command made no connection, or went past the proxy: some runtimes ignore proxy variables (Node before 24, Go for localhost)",
			"point it at --reverse (docs/tls.md), or let it run in a namespace of its own: --capture namespace",
		}
	}
	if d := deputy(p.o.Command); d != "" {
		why = append(why, d+" lets a program that is running already do the work, outside of the namespace: record what that one starts, or stand in its way with --reverse or --transparent")
	}
	switch n := snap.Names; {
	case n.Asked > 0:
		var refused uint64
		for _, k := range n.Refused {
			refused += k
		}
		why = append(why, fmt.Sprintf("it asked for %s, of which rules refused %d, and connected nowhere", plural(int(n.Asked), "name"), refused))
	case len(p.refusedUDP) == 0:
		why = append(why, "it made no connection, and asked for no name")
	}
	if len(p.refusedUDP) > 0 {
		why = append(why, "it sent UDP, which is refused but for DNS (below)")
	}
	why = append(why, "a daemon, or a container that runs already, did the work when asked over a unix socket: those are outside of the namespace")
	if os.Geteuid() != 0 {
		why = append(why, "sudo and other setuid programs have no power in an ordinary user's namespace: see what the command itself says")
	}
	return why
}

// deputy is the first program in a command, or in a script on its command line, that
// is known to hand its work on; "" for none.
func deputy(command []string) string {
	for _, arg := range command {
		for _, word := range strings.Fields(arg) {
			if name := filepath.Base(strings.Trim(word, `"';&|()`)); slices.Contains(deputies, name) {
				return name
			}
		}
	}
	return ""
}

// tellNothing says loudly that nothing was captured.
func tellNothing(b *bytes.Buffer, why []string) {
	if len(why) == 0 {
		return
	}
	b.WriteString("\nNOTHING WAS CAPTURED: nothing came through understudy. What may be behind it:\n")
	for _, w := range why {
		fmt.Fprintf(b, "  - %s\n", w)
	}
}

// untrusting are clients that broke off the TLS handshake with us.
type untrusting struct {
	Host        string `json:"host"`
	Connections uint64 `json:"connections"`
	Reason      string `json:"reason"`
	Remedy      string `json:"remedy"`
}

// whatToSet tells how a program comes to trust our authority. roots is a file that has it
// among others, for a command that has its variables already; "" for what runs elsewhere.
func whatToSet(roots string) string {
	to := "the file that `understudy ca path` names"
	if roots != "" {
		to = roots + ", which has the authority for this command, as its variables do already; so a setting of its own is in force, or a variable that it changed"
	}
	return "set the program's own option for roots, or its runtime's variable (SSL_CERT_FILE: OpenSSL, Go, Ruby; NODE_EXTRA_CA_CERTS: Node; REQUESTS_CA_BUNDLE: Python requests; " +
		"CURL_CA_BUNDLE: curl; -Djavax.net.ssl.trustStore: Java; docs/tls.md has more) to " + to
}

// leaveAlone tells how TLS for a host goes uninspected. doors are the hosts that reverse
// doors lead to: such a door is the server that its clients ask for, and --pass does not
// concern it.
func leaveAlone(host string, doors []string) string {
	if slices.Contains(doors, host) {
		return "--tcp ADDR=HOST:PORT in place of --reverse passes it on unread"
	}
	return "--pass " + cmp.Or(host, "HOST") + " leaves it alone"
}

// reverseHosts are the authorities that reverse doors lead to.
func (p *parts) reverseHosts() (hosts []string) {
	for _, l := range p.listeners {
		if to, err := url.Parse(l.To); err == nil && l.Kind == config.ListenReverse {
			hosts = append(hosts, to.Host)
		}
	}
	return hosts
}

// untrustingClients gathers them from the ledger by host, the most first. roots is as for
// whatToSet, doors as for leaveAlone.
func untrustingClients(snap *recorder.Snapshot, roots string, doors []string) (all []untrusting) {
	for _, a := range snap.Away {
		if !a.Untrusted {
			continue
		}
		i := slices.IndexFunc(all, func(u untrusting) bool { return u.Host == a.Host })
		if i < 0 {
			i = len(all)
			all = append(all, untrusting{
				Host: a.Host, Reason: a.Reason,
				Remedy: whatToSet(roots) + "; or, where it pins its certificate: " + leaveAlone(a.Host, doors),
			})
		}
		all[i].Connections += a.Count
	}
	slices.SortStableFunc(all, func(a, b untrusting) int { return cmp.Compare(b.Connections, a.Connections) })
	return all
}

func tellUntrusting(b *bytes.Buffer, all []untrusting, roots string, doors []string) {
	if len(all) == 0 {
		return
	}
	b.WriteString("\nTLS clients refused to talk to understudy; most likely they do not trust its authority:\n")
	for _, u := range all[:min(len(all), rowsShown)] {
		fmt.Fprintf(b, "  %s  %s  %s\n", printable(cmp.Or(u.Host, "-")), plural(int(u.Connections), "connection"), printable(leaveAlone(u.Host, doors)))
	}
	tellMore(b, len(all))
	fmt.Fprintf(b, "what helps: %s\n", whatToSet(roots))
}

// tellUnrecorded says of a recording what it has no answers for: raw TCP, the database of
// a program as a rule, works while it is recorded.
func tellUnrecorded(b *bytes.Buffer, snap *recorder.Snapshot) {
	var hosts []string
	for _, a := range snap.Away {
		if a.Fate == recorder.Passed && a.Protocol == "raw" {
			hosts = append(hosts, printable(cmp.Or(a.Host, "-")))
		}
	}
	if len(hosts) == 0 {
		return
	}
	more := ""
	if n := len(hosts); n > rowsShown {
		hosts, more = hosts[:rowsShown], fmt.Sprintf(" and %d more", n-rowsShown)
	}
	fmt.Fprintf(b, "\nraw TCP is passed on, and not recorded: a replay has no answer for %s%s, unless with --on-miss forward\n", strings.Join(hosts, ", "), more)
}

// refusedUDP is a destination of UDP that was refused.
type refusedUDP struct {
	To        string `json:"to"` // host:port, by name where it is known; "" for those beyond the bound
	Datagrams uint64 `json:"datagrams"`
}

// byDestination adds up what was refused, the most first.
func byDestination(refused []gateway.RefusedUDP) []refusedUDP {
	to := map[string]uint64{}
	for _, r := range refused {
		host := ""
		if r.To.IsValid() {
			host = hostFor(r.To, r.Host)
		}
		to[host] += r.Datagrams
	}
	all := make([]refusedUDP, 0, len(to))
	for _, host := range slices.Sorted(maps.Keys(to)) {
		all = append(all, refusedUDP{host, to[host]})
	}
	slices.SortStableFunc(all, func(a, b refusedUDP) int { return cmp.Compare(b.Datagrams, a.Datagrams) })
	return all
}

// tellRefusedUDP lists what was refused because it was neither TCP nor DNS.
func tellRefusedUDP(b *bytes.Buffer, all []refusedUDP) {
	if len(all) == 0 {
		return
	}
	b.WriteString("\nUDP was refused (only DNS passes; QUIC falls back to TCP):\n")
	for _, r := range all[:min(len(all), rowsShown)] {
		fmt.Fprintf(b, "  %s  %s\n", printable(cmp.Or(r.To, "others")), plural(int(r.Datagrams), "datagram"))
	}
	tellMore(b, len(all))
}

func tellMore(b *bytes.Buffer, n int) {
	if n > rowsShown {
		fmt.Fprintf(b, "  and %d more\n", n-rowsShown)
	}
}

// printable keeps what came over the wire from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
