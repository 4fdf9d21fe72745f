package gateway

import (
	"net/netip"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzQueued holds: what the kernel queues is read or left out, never more than
// there is; and a packet that we write is read as what it is.
func FuzzQueued(f *testing.F) {
	f.Add(queuedAs(9, tcpPacket("192.0.2.1:5", "[::1]:6")))
	f.Add(queuedAs(9, tcpPacket("[2001:db8::1]:5", "[::1]:6")))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		eachQueued(b, func(uint32, Connection) { n++ })
		if n*(unix.NLMSG_HDRLEN+4+8+4+ip4Header+4) > len(b)+8 {
			t.Fatalf("%d packets in %d bytes", n, len(b))
		}
	})
}

// queuedAs is a message as the kernel sends it for a packet.
func queuedAs(id byte, packet []byte) []byte {
	return queueMessage(nfqPacket, 0, 0, attribute(nfqaPacketHeader, []byte{0, 0, 0, id, 8, 0, 1, 0}), attribute(nfqaPayload, packet))
}

// tcpPacket is the start of a connection's first packet.
func tcpPacket(from, to string) []byte {
	a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	if a.Addr().Is4() != b.Addr().Is4() {
		b = netip.MustParseAddrPort("127.0.0.1:6")
	}
	p := udpDatagram(nil, a, b) // the ports are in the same place
	if a.Addr().Is4() {
		p[9] = unix.IPPROTO_TCP
	} else {
		p[6] = unix.IPPROTO_TCP
	}
	return p
}

func TestQueuedPackets(t *testing.T) {
	var got []Connection
	two := append(queuedAs(1, tcpPacket("192.0.2.1:5", "127.0.0.1:6")), queuedAs(2, tcpPacket("[2001:db8::1]:7", "[::1]:8"))...)
	eachQueued(two, func(id uint32, c Connection) {
		if int(id) != len(got)+1 {
			t.Errorf("packet %d has the number %d", len(got), id)
		}
		got = append(got, c)
	})
	want := []Connection{
		{From: netip.MustParseAddrPort("192.0.2.1:5"), To: netip.MustParseAddrPort("127.0.0.1:6")},
		{From: netip.MustParseAddrPort("[2001:db8::1]:7"), To: netip.MustParseAddrPort("[::1]:8")},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestNsswitch(t *testing.T) {
	for old, want := range map[string]string{
		"passwd: files\nhosts:  mymachines resolve [!UNAVAIL=return] files myhostname dns # of systemd\nnetworks: files\n": "passwd: files\nhosts: files myhostname dns\nnetworks: files\n",
		"# hosts: nothing\nhosts: files mdns4_minimal [NOTFOUND=return] dns":                                               "# hosts: nothing\nhosts: files dns\n",
		"passwd: files": "passwd: files",
	} {
		if got := string(filesThenDNS([]byte(old))); got != want {
			t.Errorf("%q became %q, want %q", old, got, want)
		}
	}
}

func TestHosts(t *testing.T) {
	got := parseHosts("127.0.0.1 localhost loop\n127.0.0.1 vm\n::ffff:10.0.0.1\tDB.internal # old\nnonsense here\n::1 localhost6\n10.0.0.2\n")
	want := map[netip.Addr]string{
		netip.MustParseAddr("127.0.0.1"): "localhost", netip.MustParseAddr("10.0.0.1"): "db.internal", netip.MustParseAddr("::1"): "localhost6",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A failed step is told with its remedy, what came before went well and what
// comes after was not tried.
func TestFindings(t *testing.T) {
	err := explain(StepCatch, &shimError{"nftables: no such file", unix.ENOENT}, true)
	for _, f := range findings([]Step{StepStart, StepPowers, StepMount, StepNetwork, StepLink}, err, false) {
		switch {
		case f.Step == StepCatch:
			if f.OK || f.Remedy != mendNft {
				t.Errorf("%+v", f)
			}
		case f.Step == StepSockets || f.Step == StepConnect || f.Step == StepAsk:
			if f.OK || f.Detail != "not tried" {
				t.Errorf("%+v", f)
			}
		case f.Step == StepLink || f.Step == StepUser:
			if !f.OK {
				t.Errorf("%+v", f)
			}
		}
	}
}
