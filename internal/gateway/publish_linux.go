package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway/shim"
)

// publish listens on the host's addresses for the command's ports.
func (c *capture) publish(all []Publish) error {
	for _, p := range all {
		l, err := net.Listen("tcp", p.On.String())
		if err != nil {
			return fmt.Errorf("publish %s: %w", p.On, err)
		}
		c.published = append(c.published, l)
		c.serving.Go(func() { c.acceptPublished(l, p.Port) })
	}
	return nil
}

func (c *capture) publishedAt() (all []netip.AddrPort) {
	for _, l := range c.published {
		all = append(all, l.Addr().(*net.TCPAddr).AddrPort())
	}
	return all
}

func (c *capture) acceptPublished(l net.Listener, port uint16) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		all.Go(func() { c.lead(conn.(*net.TCPConn), port) }) // owned by this call
	}
}

// lead carries a connection to a port of the command. Where nothing listens the
// client is reset.
func (c *capture) lead(client *net.TCPConn, port uint16) {
	defer func() { _ = client.Close() }()
	server, err := c.dialInside(port)
	if err != nil {
		_ = client.SetLinger(0)
		return
	}
	defer func() { _ = server.Close() }()
	stop := context.AfterFunc(c.ctx, func() { _, _ = client.Close(), server.Close() })
	defer stop()
	back := make(chan struct{})
	go func() { // ends with either connection
		defer close(back)
		pour(client, server)
	}()
	pour(server, client)
	<-back
}

// pour copies to the end and passes the end on. A broken direction breaks both.
func pour(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = to.SetLinger(0)
		_, _ = to.Close(), from.Close()
		return
	}
	_ = to.CloseWrite()
}

// dialInside connects to a port on the command's loopback, IPv4 first.
func (c *capture) dialInside(port uint16) (*net.TCPConn, error) {
	conn, err := c.connectInside(unix.AF_INET, &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}})
	if err == nil || !c.listenersHave6() {
		return conn, err
	}
	return c.connectInside(unix.AF_INET6, &unix.SockaddrInet6{Port: int(port), Addr: [16]byte{15: 1}})
}

func (c *capture) listenersHave6() bool { return len(c.listeners) > 2 }

func (c *capture) connectInside(family int, to unix.Sockaddr) (*net.TCPConn, error) {
	fd, err := c.socketInside(family)
	if err != nil {
		return nil, err
	}
	_ = unix.SetNonblock(fd, true) // for the runtime's poller: a listener may be full
	f := os.NewFile(uintptr(fd), "published")
	defer f.Close()
	if err = unix.Connect(fd, to); err == unix.EINPROGRESS {
		err = c.connected(f)
	}
	if err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// connected waits until a connection is made, or cannot be, or the capture ends.
func (c *capture) connected(f *os.File) error {
	stop := context.AfterFunc(c.ctx, func() { _ = f.SetWriteDeadline(time.Now()) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		number, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && number != 0 {
			err = unix.Errno(number)
		}
		if err != nil {
			failed = err
			return true
		}
		_, err = unix.Getpeername(int(fd))
		return err == nil
	})
	return errors.Join(err, failed)
}

// socketInside asks the shim for a socket in the command's namespace.
func (c *capture) socketInside(family int) (int, error) {
	c.socketMu.Lock()
	defer c.socketMu.Unlock()
	if c.commandPID() == 0 {
		return 0, os.ErrInvalid // nobody hears the answer yet
	}
	if err := c.parent.Send(shim.Note{Kind: shim.TellsSocket, Number: family}); err != nil {
		return 0, err
	}
	gift, ok := <-c.sockets
	if !ok {
		return 0, os.ErrProcessDone
	}
	return gift.fd, gift.err
}
