package dns

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// idle is how long a client may keep a connection without a question.
const idle = 30 * time.Second

// ServeTCP answers what comes over a listener's connections until it is closed,
// and returns when all have ended. A connection's local address counts as the
// resolver that was asked.
func (a *Answerer) ServeTCP(ctx context.Context, l net.Listener) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		all.Go(func() { // owned by this call
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			a.stream(ctx, conn)
		})
	}
}

// stream answers the questions on one connection, one after the other.
func (a *Answerer) stream(ctx context.Context, conn net.Conn) {
	var server netip.Addr
	if local, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		server = local.AddrPort().Addr().Unmap()
	}
	for {
		_ = conn.SetDeadline(time.Now().Add(idle))
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		message := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, message); err != nil {
			return
		}
		answer := a.Answer(ctx, message, server, true)
		if answer == nil {
			continue
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}
