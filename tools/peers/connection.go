package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// connection is one of the client's. Times of an answer are taken from its first read.
type connection struct {
	fd      int
	asked   bool // a request is under way
	sentAt  time.Time
	begun   bool          // some of the answer has come
	socket  time.Duration // from the request's send until the answer was at the socket; negative for no stamp
	partial []byte        // of an answer that comes in pieces
}

// pause ends at a moment; then the connection sends its next request.
type pause struct {
	endsAt time.Time
	conn   int32
}

type pauses []pause

func (p pauses) Len() int           { return len(p) }
func (p pauses) Less(i, j int) bool { return p[i].endsAt.Before(p[j].endsAt) }
func (p pauses) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *pauses) Push(x any)        { *p = append(*p, x.(pause)) }
func (p *pauses) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

// dial connects. What does not succeed is an error, and not tried again.
func (c *client) dial(i int32) bool {
	fd, err := c.connect(i)
	if err != nil {
		c.result.fault(1, fmt.Errorf("connect: %w", err))
	}
	c.conns[i] = connection{fd: fd}
	return err == nil
}

// connect returns a connected socket that asks for stamps, or -1 and an error.
func (c *client) connect(i int32) (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
			fd = -1
		}
	}()
	// The time limit of sends is connect's, too (socket(7)). A SYN that a full
	// queue dropped is sent again after a second.
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 3}); err != nil {
		return fd, err
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1); err != nil {
		return fd, err
	}
	if err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fd, err
	}
	if err = unix.Connect(fd, &c.addr); err != nil {
		return fd, err
	}
	return fd, unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: i})
}

func (c *client) hangUp(i int32) {
	if c.conns[i].fd >= 0 {
		_ = unix.Close(c.conns[i].fd) // epoll forgets it
	}
	c.conns[i].fd, c.conns[i].asked = -1, false
}
