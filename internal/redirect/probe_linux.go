package redirect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/trial"
)

// probeTime is how long a trial may take, modules that the kernel loads included.
const probeTime = 10 * time.Second

// Trial is what Probe found. OK says that a connection came by its rules with the
// address that it was made to.
type Trial struct {
	OK             bool
	Detail, Remedy string // what failed, and what mends it where that is known
}

// Probe tries the whole way of rules and doors, in namespaces that end with it: argv is a
// command whose body is ProbeMain. Where that goes well it looks whether this process may
// set rules in its own namespace, and sets none.
func Probe(ctx context.Context, argv ...string) Trial {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	t := probeInside(ctx, argv)
	if !t.OK {
		return t
	}
	conn, err := nftables.New()
	if err == nil {
		_, err = conn.ListTablesOfFamily(nftables.TableFamilyINet)
	}
	if errors.Is(err, unix.EPERM) {
		return Trial{Detail: "the kernel can, but this user may not set rules on this machine",
			Remedy: "sudo understudy proxy --transparent :15001 --install-rules; rules that another sets serve an ordinary user, too (docs/sidecar.md)"}
	}
	return failure(explain(err))
}

// failure splits an error at its hint; none is success.
func failure(err error) Trial {
	if err == nil {
		return Trial{OK: true}
	}
	detail, remedy, _ := strings.Cut(err.Error(), "\nhint: ")
	return Trial{Detail: detail, Remedy: remedy}
}

func probeInside(ctx context.Context, argv []string) (t Trial) {
	if err := trial.Run(ctx, os.Geteuid() != 0, argv, &t); err != nil {
		t.Detail, t.Remedy = trial.Explain(err)
		t.Detail = "not tried, for want of a network namespace: " + t.Detail
	}
	return t
}

// ProbeMain is the body of Probe's hidden subcommand: it tries in the network namespace
// that it finds itself in, and writes a Trial as JSON. It refuses one in use, where
// a link is up: it must not experiment on a host.
func ProbeMain(w io.Writer) error {
	if err := trial.RefuseUsed(); err != nil {
		return err
	}
	err := tryFamily("127.0.0.1:0", "203.0.113.9")
	if _, none := os.Stat("/proc/net/if_inet6"); err == nil && none == nil {
		err = tryFamily("[::1]:0", "2001:db8:9::9")
	}
	return json.NewEncoder(w).Encode(failure(err))
}

// tryFamily makes a connection to an address that is nobody's, and meets it at a door.
func tryFamily(at, elsewhere string) error {
	to := netip.AddrPortFrom(netip.MustParseAddr(elsewhere), 80)
	if err := lead(to.Addr()); err != nil {
		return fmt.Errorf("a route to %s: %w", elsewhere, err)
	}
	door, err := Listen(at)
	if err != nil {
		return err
	}
	defer func() { _ = door.Close() }()
	port := addrPort(door.Addr()).Port()
	rules := Rules{IPv4: port}
	if to.Addr().Is6() {
		rules = Rules{IPv6: port}
	}
	lease, err := rules.Install()
	if err != nil {
		return err
	}
	defer func() { _ = lease.Close() }()
	client, err := net.DialTimeout("tcp", to.String(), probeTime/4)
	if err != nil {
		return fmt.Errorf("the rules are set and lead nowhere: %w", err)
	}
	defer func() { _ = client.Close() }()
	met, err := door.Accept() // what is connected has been queued
	if err != nil {
		return err
	}
	defer func() { _ = met.Close() }()
	got, err := door.Destination(met)
	if err == nil && got != to {
		err = fmt.Errorf("a connection to %s came as one to %s", to, got)
	}
	return err
}

// lead makes a route by the loopback to an address, and brings that up.
func lead(to netip.Addr) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: netlink.NewIPNet(to.AsSlice())})
}
