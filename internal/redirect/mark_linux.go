package redirect

import "golang.org/x/sys/unix"

// mark marks a socket's packets. Where that is not allowed the rules must know
// this process by its uid; Own notices if they do not.
func mark(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, Mark) }
