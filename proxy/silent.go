package proxy

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/understudy-proxy/understudy/proxy/sock"
)

// lateTime is how long a client may still take to speak where nobody else can: its
// server cannot be reached, or must not be.
const lateTime = 10 * time.Second

// silent serves a client that has said nothing so far. It may wait for the server to
// speak, or only be slow: a runtime may load its TLS between connecting and speaking.
// So both are heard, and whoever speaks first decides.
func (s *session) silent(ctx context.Context, c *peekConn) {
	up, err := s.dial(ctx, s.conn.Host)
	if err != nil {
		if serverFirst(s.conn.Host) { // there is nothing to wait for
			s.undialled(s.conn.Host, protoRaw, err)
			sock.Reset(c)
			return
		}
		late, p, serr := sniff(ctx, c, lateTime)
		if serr == nil && len(late.ahead) == 0 {
			s.undialled(s.conn.Host, protoRaw, err)
			sock.Reset(c)
			return
		}
		s.recognised(ctx, late, p, serr)
		return
	}
	u := &peekConn{Conn: up}
	if clientFirst(ctx, c, u) {
		late, p, err := sniff(ctx, c, 0)
		if err != nil || p != protoRaw {
			_ = up.Close() // it was for a server that speaks first
			s.recognised(ctx, late, p, err)
			return
		}
		c = late
	}
	s.carry(ctx, c, u, s.conn.Host, protoRaw)
}

// serverFirst reports whether the port of host, host:port, is of a protocol in which
// the server speaks first: FTP, SSH, SMTP, POP3, IMAP, MySQL, VNC.
func serverFirst(host string) bool {
	_, port, err := net.SplitHostPort(host)
	return err == nil && slices.Contains([]string{"21", "22", "25", "587", "110", "143", "3306", "5900"}, port)
}

// clientFirst waits until one side says something or ends, and reports whether it
// was the client alone that spoke. What was read is kept by each.
func clientFirst(ctx context.Context, client, server *peekConn) bool {
	hush := func() {
		_ = client.SetReadDeadline(time.Unix(1, 0))
		_ = server.SetReadDeadline(time.Unix(1, 0))
	}
	stop := context.AfterFunc(ctx, hush)
	defer stop()
	var serverErr error
	var both sync.WaitGroup
	both.Go(func() { // ends with the client's first words, which hush the server
		serverErr = server.more()
		_ = client.SetReadDeadline(time.Unix(1, 0))
	})
	_ = client.more() // its end is read again by whoever serves it
	_ = server.SetReadDeadline(time.Unix(1, 0))
	both.Wait()
	if ctx.Err() != nil {
		return false // the deadlines stand: whatever is begun now ends at once
	}
	var zero time.Time
	_ = client.SetReadDeadline(zero)
	_ = server.SetReadDeadline(zero)
	return len(client.ahead) > 0 && len(server.ahead) == 0 && errors.Is(serverErr, os.ErrDeadlineExceeded)
}
