package shaping

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tryAll tries each capability in the current network namespace and leaves what
// it made to die with it.
func tryAll() []Capability {
	const on, peer = "probe0", "probe1"
	linkErr := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: on}, PeerName: peer})
	all := []Capability{verdict(CapNamespaces, linkErr,
		"the namespaces were made but have no power: on Ubuntu sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0; "+
			"otherwise the kernel lacks veth: sudo modprobe veth")}
	if linkErr != nil {
		for _, name := range capabilities[1:] {
			all = append(all, Capability{Name: name, Detail: "not tried: there is no link to try it on", Remedy: all[0].Remedy})
		}
		return all
	}
	var index int
	link, err := netlink.LinkByName(on)
	if err == nil {
		index = link.Attrs().Index
	}
	root := netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
	qdisc := func(name string, q netlink.Qdisc) Capability {
		tried := err
		if tried == nil {
			if tried = netlink.QdiscAdd(q); tried == nil {
				tried = netlink.QdiscDel(q)
			}
		}
		return verdict(name, tried, "sudo modprobe sch_"+name+moreModules)
	}
	return append(all,
		qdisc(CapNetem, netlink.NewNetem(root, netlink.NetemQdiscAttrs{Latency: 1000})),
		qdisc(CapHTB, netlink.NewHtb(root)),
		qdisc(CapTBF, &netlink.Tbf{QdiscAttrs: root, Rate: 1 << 20, Limit: 1 << 16, Buffer: 1 << 14}),
		verdict(CapIFB, netlink.LinkAdd(&netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: "probe2"}}), "sudo modprobe ifb"+moreModules),
		verdict(CapTProxy, tryTProxy(), "sudo modprobe -a nf_tables nft_tproxy"+moreModules),
	)
}

const moreModules = "; if there is no such module, install the kernel's extra modules " +
	"(Ubuntu: linux-modules-extra-$(uname -r), RHEL: kernel-modules-extra) or use a full kernel: minimal cloud, container and WSL2 kernels lack them"

// verdict turns the outcome of a trial into a Capability.
func verdict(name string, err error, remedy string) Capability {
	switch {
	case err == nil:
		return Capability{Name: name, OK: true}
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT):
		return Capability{Name: name, Detail: fmt.Sprintf("this kernel does not have it (%v)", err), Remedy: remedy}
	}
	return Capability{Name: name, Detail: err.Error(), Remedy: remedy}
}
