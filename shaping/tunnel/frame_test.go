package tunnel

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// superPacket is what the kernel hands over of a TCP connection: n bytes of payload, to
// be cut every mss.
func superPacket(v6 bool, n, mss int) []byte {
	b := make([]byte, packetAt)
	b[flagsAt] = needsChecksum
	ip, kind, ethertype := 20, gsoTCP4, etherIPv4
	if v6 {
		ip, kind, ethertype = ipv6Size, gsoTCP6, etherIPv6
	}
	b[gsoTypeAt] = byte(kind)
	native.PutUint16(b[gsoSizeAt:], uint16(mss))
	native.PutUint16(b[checksumFromAt:], uint16(ethernetHeader+ip))
	native.PutUint16(b[checksumToAt:], 16)
	binary.BigEndian.PutUint16(b[virtioHeader+12:], uint16(ethertype))
	header := make([]byte, ip)
	if v6 {
		header[0], header[6], header[7] = 0x60, protoTCP, 64
		header[1] = 0x20 // it supports ECN
		binary.BigEndian.PutUint16(header[4:], uint16(32+n))
		for i := range 32 {
			header[8+i] = byte(i * 7)
		}
	} else {
		header[0], header[1], header[8], header[9] = 0x45, 2, 64, protoTCP
		binary.BigEndian.PutUint16(header[2:], uint16(ip+32+n))
		binary.BigEndian.PutUint16(header[4:], 65534)
		copy(header[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
		sumIPv4(header)
	}
	tcp := make([]byte, 32)
	binary.BigEndian.PutUint32(tcp[4:], 0xfffffff0) // wraps around
	tcp[12], tcp[13] = 8<<4, 0x80|0x18|0x01         // CWR, PSH, ACK, FIN
	b = append(append(b, header...), tcp...)
	for i := range n {
		b = append(b, byte(i*31))
	}
	return b
}

func parsed(data []byte) *frame {
	f := &frame{data: data}
	f.parse()
	return f
}

// verify holds a cut frame against the super-packet: it is the i-th segment and on.
func verify(t *testing.T, f *frame, i, j int, whole []byte) {
	t.Helper()
	ip, tcp := whole[packetAt:f.transport], whole[f.transport:]
	payload := whole[f.payload:]
	if want := f.data[f.payload+i*f.mss : min(f.payload+j*f.mss, len(f.data))]; !bytes.Equal(payload, want) {
		t.Fatalf("segments %d to %d: another payload", i, j)
	}
	if got, want := binary.BigEndian.Uint32(tcp[4:]), uint32(0xfffffff0)+uint32(i*f.mss); got != want {
		t.Errorf("segment %d: sequence %d, want %d", i, got, want)
	}
	if got, want := tcp[13]&9 != 0, j == f.segments; got != want {
		t.Errorf("segments %d to %d: FIN or PSH is %v", i, j, got)
	}
	if got, want := tcp[13]&0x80 != 0, i == 0; got != want {
		t.Errorf("segment %d: CWR is %v", i, got)
	}
	addresses := ip[8:]
	if f.ethertype == etherIPv4 {
		addresses = ip[12:20]
		if fold(sum(0, ip)) != 0xffff {
			t.Errorf("segment %d: the header's checksum is wrong", i)
		}
		if got := int(binary.BigEndian.Uint16(ip[2:])); got != len(whole)-packetAt {
			t.Errorf("segment %d: an IP length of %d, want %d", i, got, len(whole)-packetAt)
		}
	} else if got := int(binary.BigEndian.Uint16(ip[4:])); got != len(whole)-packetAt-ipv6Size {
		t.Errorf("segment %d: an IP length of %d, want %d", i, got, len(whole)-packetAt-ipv6Size)
	}
	if got, want := binary.BigEndian.Uint16(tcp[16:]), fold(sum(0, addresses)+protoTCP+uint64(len(tcp))); got != want && !(i == 0 && j == f.segments) {
		t.Errorf("segment %d: a partial checksum of %#x, want %#x", i, got, want)
	}
	if gso := whole[gsoTypeAt]; (gso&^gsoECN != 0) != (len(payload) > f.mss) {
		t.Errorf("segments %d to %d of %d bytes: a GSO type of %d", i, j, len(payload), gso)
	}
}

func TestCut(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		f := parsed(superPacket(v6, 10_000, 1448))
		if f.segments != 7 || !f.marks() {
			t.Fatalf("%d segments, marks %v, want 7, true", f.segments, f.marks())
		}
		total := 0
		for i := range f.segments {
			total += f.size(i)
			for j := i + 1; j <= f.segments; j++ {
				head, rest := f.cut(i, j, make([]byte, most))
				verify(t, f, i, j, append(bytes.Clone(head), rest...))
				if j == i+1 && len(head)+len(rest)-virtioHeader != f.size(i) {
					t.Errorf("segment %d has %d bytes, size says %d", i, len(head)+len(rest)-virtioHeader, f.size(i))
				}
			}
		}
		if total != f.bytes() {
			t.Errorf("segments come to %d bytes, want %d", total, f.bytes())
		}
	}
}

func TestMarkAndDamage(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		f := parsed(superPacket(v6, 1000, 1448))
		head, rest := f.cut(0, 1, make([]byte, most))
		whole := append(bytes.Clone(head), rest...)
		mark(whole, f.ethertype)
		if got := parsed(whole); !got.marks() || !v6 && (fold(sum(0, whole[packetAt:f.transport])) != 0xffff || whole[packetAt+1]&3 != 3) || v6 && whole[packetAt+1] != 0x30 {
			t.Errorf("v6 %v: not marked: % x", v6, whole[packetAt:packetAt+20])
		}
		// The pseudo-header's sum, as the kernel leaves it there.
		addresses := whole[packetAt+12 : packetAt+20]
		if v6 {
			addresses = whole[packetAt+8 : packetAt+40]
		}
		length := uint64(len(whole) - f.transport)
		binary.BigEndian.PutUint16(whole[f.transport+16:], fold(sum(0, addresses)+protoTCP+length))
		sound := bytes.Clone(whole)
		bit := uint64(f.payload-packetAt+5)*8 + 3
		damage(whole, bit)
		if whole[flagsAt]&needsChecksum != 0 {
			t.Error("a damaged packet still waits for its checksum")
		}
		pseudo := sum(0, addresses) + protoTCP + length
		if fold(sum(pseudo, whole[f.transport:])) == 0xffff {
			t.Error("the checksum of a damaged packet fits")
		}
		whole[f.payload+5] ^= 1 << 3
		if fold(sum(pseudo, whole[f.transport:])) != 0xffff {
			t.Error("the checksum does not fit once the damage is undone")
		}
		if !bytes.Equal(whole[f.payload:], sound[f.payload:]) {
			t.Error("more than one bit was flipped")
		}
	}
}

// Whatever a device hands over is taken apart without a panic, and its segments put
// together are its payload.
func FuzzFrame(f *testing.F) {
	f.Add(superPacket(false, 50, 20), uint64(9))
	f.Add(superPacket(true, 40, 30), uint64(77))
	f.Add([]byte{1, 1, 0, 0, 1}, uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, bit uint64) {
		if len(data) > 1<<16 {
			return
		}
		f := parsed(data)
		before := bytes.Clone(data)
		var all []byte
		total := 0
		for i := range f.segments {
			head, rest := f.cut(i, i+1, make([]byte, most))
			whole := append(bytes.Clone(head), rest...)
			total += f.size(i)
			if f.segments > 1 {
				all = append(all, whole[f.payload:]...)
			}
			mark(whole, f.ethertype)
			damage(whole, bit)
			if i > 100 {
				return
			}
		}
		if len(all) > 0 && !bytes.Equal(all, data[f.payload:]) {
			t.Fatal("the segments are not the payload")
		}
		if len(data) >= packetAt && total != f.bytes() {
			t.Fatalf("segments of %d bytes, want %d", total, f.bytes())
		}
		if !bytes.Equal(before, data) {
			t.Fatal("the frame was changed")
		}
	})
}
