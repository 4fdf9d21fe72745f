//go:build linux

package gateway_test

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/understudy-proxy/understudy/internal/gateway"
)

// What a probe's socket sends at one end comes to the other's, before the command runs.
func TestProbes(t *testing.T) {
	ready := func(g *gateway.Gateway) error {
		down, up := g.Probes()
		defer down.Socket.Close()
		defer up.Socket.Close()
		for _, way := range []struct {
			name     string
			from, to gateway.ProbeEnd
		}{{"down", down, up}, {"up", up, down}} {
			from, err := net.FilePacketConn(way.from.Socket)
			if err != nil {
				return err
			}
			defer from.Close()
			to, err := net.FilePacketConn(way.to.Socket)
			if err != nil {
				return err
			}
			defer to.Close()
			// An echo reply with its checksum: type, code, sum, identifier, number.
			packet := []byte{0, 0, 0xff ^ 0x12, 0xff ^ 0x35, 0x12, 0x34, 0, 1}
			if _, err := from.WriteTo(packet, &net.IPAddr{IP: way.to.Address.AsSlice()}); err != nil {
				return err
			}
			b := make([]byte, 100)
			_ = to.SetReadDeadline(time.Now().Add(10 * time.Second))
			n, source, err := to.ReadFrom(b)
			if err != nil {
				t.Errorf("%s: %v", way.name, err)
			} else if !bytes.HasSuffix(b[:n], packet) || source.String() != way.from.Address.String() {
				t.Errorf("%s: %x from %v, want %x from %v", way.name, b[:n], source, packet, way.from.Address)
			}
		}
		return nil
	}
	r := capture(t, gateway.Options{Argv: []string{"true"}, Probes: true, Ready: ready})
	if code, err := r.Wait(); code != 0 || err != nil {
		t.Errorf("the command ended with %d, %v", code, err)
	}
}

// Nobody who did not ask has them.
func TestNoProbes(t *testing.T) {
	ready := func(g *gateway.Gateway) error {
		if down, up := g.Probes(); down.Socket != nil || up.Socket != nil {
			t.Error("there are sockets for probes")
		}
		return nil
	}
	r := capture(t, gateway.Options{Argv: []string{"true"}, Ready: ready})
	_, _ = r.Wait()
}
