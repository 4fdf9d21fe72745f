package gateway

import (
	"bytes"
	"net/netip"
	"os"
	"strings"

	"github.com/understudy-proxy/understudy/internal/gateway/link"
	"github.com/understudy-proxy/understudy/internal/gateway/shim"
)

// covers returns the orders for the caller's files and for those that make every
// program ask our resolver: others ask daemons over unix sockets, which no
// network namespace holds back. A content that serves several paths is sent once.
func covers(files []File) (orders []shim.Cover, contents []shim.Content) {
	all := []File{
		{Path: "/etc/resolv.conf", Content: []byte("# understudy answers, whatever resolver is asked\nnameserver " + link.Resolver().String() + "\n")},
		{Path: "/var/run/nscd/socket"}, // an empty file refuses connections
	}
	if old, err := os.ReadFile("/etc/nsswitch.conf"); err == nil {
		all = append(all, File{Path: "/etc/nsswitch.conf", Content: filesThenDNS(old)})
	}
	for _, f := range append(all, files...) {
		o := shim.Cover{Path: f.Path, Source: f.Source}
		if f.Source == "" {
			o.Content = -1
			for i, c := range contents {
				if c.Base == f.Base && bytes.Equal(c.Bytes, f.Content) {
					o.Content = i
				}
			}
			if o.Content < 0 {
				o.Content = len(contents)
				contents = append(contents, shim.Content{Base: f.Base, Bytes: f.Content})
			}
		}
		orders = append(orders, o)
	}
	return orders, contents
}

// filesThenDNS returns an nsswitch.conf in which host names come from /etc/hosts
// and DNS alone; a module that knows the host's own name by itself stays.
func filesThenDNS(old []byte) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(old)) {
		text, _, _ := strings.Cut(line, "#")
		what, sources, ok := strings.Cut(text, ":")
		if !ok || strings.TrimSpace(what) != "hosts" {
			out.WriteString(line)
			continue
		}
		own := ""
		for _, s := range strings.Fields(sources) {
			if s == "myhostname" {
				own = " myhostname"
			}
		}
		out.WriteString("hosts: files" + own + " dns\n")
	}
	return out.Bytes()
}

// readHosts returns the first name of each address in a hosts file.
func readHosts(name string) map[netip.Addr]string {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	return parseHosts(string(text))
}

func parseHosts(text string) map[netip.Addr]string {
	hosts := map[netip.Addr]string{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		if _, ok := hosts[addr.Unmap()]; !ok {
			hosts[addr.Unmap()] = strings.ToLower(fields[1])
		}
	}
	return hosts
}
