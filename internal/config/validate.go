package config

import (
	"cmp"
	"net"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// validate checks what single keys cannot: whether they agree. It opens nothing.
func (c *Config) validate() place.List {
	var errs place.List
	add := func(key, hint, format string, args ...any) {
		errs = append(errs, c.errorAt(key, hint, format, args...))
	}
	if c.Mode == ModeReplay && len(c.Cassettes) == 0 && c.OnMiss == MissFail {
		add("mode", cmp.Or(c.Unread(), "name one with cassettes: [DIR] or -f DIR"), "mode: replay has no cassette to answer from")
	}
	if c.Admin.Addr != "" && !c.Admin.AllowRemote && !isLoopback(c.Admin.Addr) {
		add("admin.addr", "use 127.0.0.1, or set admin.allow_remote: true",
			"admin.addr: %s can be reached from other machines", c.Admin.Addr)
	}
	if c.Admin.Token != "" && c.Admin.TokenFile != "" {
		add("admin.token_file", "keep one of them", "admin: both token (%s) and token_file are given", c.Origin("admin.token"))
	}
	if n := c.Limits.HeadBytes; n < 1<<10 || n > 16<<20 {
		add("limits.head_bytes", "", "limits.head_bytes: want 1KiB to 16MiB, got %d bytes", n)
	}
	if n := c.Limits.QueueBytes; n < 64<<10 {
		add("limits.queue_bytes", "", "limits.queue_bytes: want 64KiB or more, got %d bytes", n)
	}
	c.validateAddresses(add)
	return errs
}

// validateAddresses finds listeners that cannot both be bound.
func (c *Config) validateAddresses(add func(key, hint, format string, args ...any)) {
	taken := map[string]string{}
	claim := func(key, who, addr string) {
		if addr == "" || strings.HasSuffix(addr, ":0") {
			return
		}
		host, port, _ := net.SplitHostPort(addr)
		if strings.EqualFold(host, "localhost") {
			addr = net.JoinHostPort("127.0.0.1", port)
		}
		if other := taken[addr]; other != "" {
			add(key, "give each a port of its own", "%s: %s is taken by %s", key, addr, other)
			return
		}
		taken[addr] = who
	}
	for _, l := range c.Listen {
		claim("listen", "listen "+l.String(), l.Addr)
	}
	claim("admin.addr", "admin", c.Admin.Addr)
}
