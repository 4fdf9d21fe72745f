package tunnel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/shaping"
)

// Open makes a link of two ends, without conditions. What the end down sends is what
// comes down to the end up, as shaping.Link names its directions. Each read from an end
// is to return one frame, with a virtio_net_hdr of 10 bytes before it, and each write to
// take one. The files stay the caller's, and are not used after Open. Nothing is carried
// before Run, which whoever calls Open calls. names may be nil.
func Open(down, up *os.File, seeds Seeds, names Names) (_ *Link, err error) {
	if down == nil || up == nil {
		return nil, errors.New("carry a link: an end is missing")
	}
	l := &Link{seeds: seeds, shaped: map[shaping.Direction]bool{}}
	var fds [2]int
	for i, f := range []*os.File{down, up} {
		if fds[i], err = copyOf(f); err != nil {
			for _, fd := range fds[:i] {
				_ = unix.Close(fd)
			}
			return nil, err
		}
	}
	begin := time.Now()
	l.down, l.up = newPump(fds[0], fds[1], false, names, begin), newPump(fds[1], fds[0], true, names, begin)
	return l, nil
}

// copyOf is a descriptor of our own, which does not block.
func copyOf(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("carry a link: %w", err)
	}
	if e := raw.Control(func(own uintptr) {
		if fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 3); err == nil {
			err = unix.SetNonblock(fd, true)
		}
	}); e != nil {
		err = e
	}
	if err != nil {
		return 0, fmt.Errorf("carry a link: %w", err)
	}
	return fd, nil
}

// close gives the descriptors back.
func (l *Link) close() {
	l.closeOnce.Do(func() {
		_ = unix.Close(l.down.from)
		_ = unix.Close(l.up.from)
	})
}

// Run carries packets until ctx ends, or an end is gone, and then gives all back. Packets
// that are held are lost. It is called once.
func (l *Link) Run(ctx context.Context) error {
	defer l.close()
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("carry a link: %w", os.NewSyscallError("eventfd", err))
	}
	defer func() { _ = unix.Close(wake) }()
	// A pump that ends does so for the other: half a link is none.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 1})
		close(woken)
	})
	var both errgroup.Group
	for _, p := range l.pumps() {
		both.Go(func() error {
			defer cancel()
			return p.run(wake)
		})
	}
	err = both.Wait()
	if !stop() {
		<-woken // only then is the descriptor ours to close
	}
	if err != nil && !errors.Is(err, errGone) {
		return fmt.Errorf("carry a link: %w", err)
	}
	return nil
}
