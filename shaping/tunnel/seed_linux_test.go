package tunnel_test

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/tunnel"
)

// The same packets over the same conditions with the same seed meet the same fate, each
// of them and to the flipped bit, whatever the conditions were in between.
func TestSameSeedSamePackets(t *testing.T) {
	one, two, other := fates(t, 7), fates(t, 7), fates(t, 8)
	if !slices.Equal(one, two) {
		t.Error("the same seed and packets came to different fates")
	}
	if slices.Equal(one, other) {
		t.Error("another seed came to the same fates")
	}
	var lost, twice, damaged int
	for _, f := range one {
		switch len(f) {
		case 0:
			lost++
		case 2 * sentSize:
			twice++
		}
		if strings.ReplaceAll(f, string(packet()), "") != "" {
			damaged++
		}
	}
	if lost == 0 || twice == 0 || damaged == 0 {
		t.Errorf("%d of %d lost, %d doubled, %d damaged: want some of each", lost, len(one), twice, damaged)
	}
}

// sentSize is a frame's bytes: a virtio_net_hdr, an Ethernet header, 46 of payload.
const sentSize = 10 + 14 + 46

// packet is one that no protocol takes: 0x88b5 is for local experiments, by IEEE 802.
func packet() []byte {
	b := make([]byte, sentSize)
	b[22], b[23] = 0x88, 0xb5
	return b
}

// fates sends packets one by one over a link between sockets that need no privileges, and
// returns what came of each.
func fates(t *testing.T, seed uint64) (all []string) {
	t.Helper()
	near, down := ends(t)
	far, up := ends(t)
	l, err := tunnel.Open(down, up, func(string, shaping.Direction) uint64 { return seed }, nil)
	if err != nil {
		t.Fatal(err)
	}
	carry(t, l)
	var before shaping.Counters
	room := make([]byte, 2*sentSize)
	for i := range 600 {
		if i%200 == 0 {
			how := []string{"loss=10%,burst=3,duplicate=10%,corrupt=10%", "loss=30%,duplicate=20%", "loss=10%,burst=3,corrupt=30%"}[i/200]
			if err := l.Change(t.Context(), shaping.Link{Down: spec(t, how)}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := near.Write(packet()); err != nil {
			t.Fatal(err)
		}
		fate := ""
		for read := before.SentPackets; ; runtime.Gosched() {
			c, _ := l.Counters()
			now := c[shaping.Down]
			for ; read < now.SentPackets; read++ {
				n, err := far.Read(room)
				if err != nil {
					t.Fatal(err)
				}
				fate += string(room[:n])
			}
			if decided(now) > decided(before) && now.BacklogPackets == 0 {
				before = now
				break
			}
		}
		all = append(all, fate)
	}
	return all
}

// decided is how many packets met a fate; one that is doubled counts twice at once.
func decided(c shaping.Counters) uint64 { return c.SentPackets + c.Dropped }

// ends are two sockets that keep frames apart, as a device does.
func ends(t *testing.T) (own, links *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	own, links = os.NewFile(uintptr(fds[0]), "own"), os.NewFile(uintptr(fds[1]), "link")
	t.Cleanup(func() {
		own.Close()
		links.Close()
	})
	return own, links
}
