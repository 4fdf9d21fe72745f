package shim

import (
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func linkMessage(kind uint16, attributes ...*nl.RtAttr) []byte {
	r := nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: kind}}
	r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	for _, a := range attributes {
		r.AddData(a)
	}
	return r.Serialize()
}

// FuzzHasQueue holds what a link's message says of its queue, whatever stands before and
// behind it, and that no message is read beyond its end.
func FuzzHasQueue(f *testing.F) {
	f.Add("noqueue", []byte("eth0"), []byte{})
	f.Add("noop", []byte{}, linkMessage(unix.RTM_NEWLINK))
	f.Add("noop2", []byte("x"), linkMessage(unix.RTM_NEWLINK, nl.NewRtAttr(unix.IFLA_QDISC, nl.ZeroTerminated("prio")))[:40])
	f.Fuzz(func(t *testing.T, queue string, other, wild []byte) {
		if len(queue) > 100 || len(other) > 100 {
			t.Skip("no kernel's name is as long")
		}
		name := nl.NewRtAttr(unix.IFLA_IFNAME, other)
		m := linkMessage(unix.RTM_NEWLINK, name, nl.NewRtAttr(unix.IFLA_QDISC, nl.ZeroTerminated(queue)), name)
		if got, want := hasQueue(m), queue != "noop" && queue != ""; got != want {
			t.Errorf("hasQueue with %q = %v", queue, got)
		}
		if hasQueue(linkMessage(unix.RTM_NEWLINK, name)) || hasQueue(linkMessage(unix.RTM_DELLINK, nl.NewRtAttr(unix.IFLA_QDISC, nl.ZeroTerminated(queue)))) {
			t.Error("a message that tells of none has one")
		}
		hasQueue(wild)
	})
}
