package shim

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// Small stand-ins for package os, which is not initialised yet.

func read(name string) string {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = unix.Close(fd) }()
	var all []byte
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			return string(all)
		}
		all = append(all, buf[:n]...)
	}
}

func write(name, text string) error { return create(name, unix.O_WRONLY, []byte(text)) }

// create writes a whole file; flags say whether it is made.
func create(name string, flags int, content []byte) error {
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0o444)
	if err != nil {
		return at("open "+name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	for len(content) > 0 {
		n, err := unix.Write(fd, content)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return at("write "+name, err)
		default:
			content = content[n:]
		}
	}
	return nil
}

func exists(name string) bool { return unix.Access(name, unix.F_OK) == nil }

// names returns what is in a directory.
func names(dir string) (all []string) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 8<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if n <= 0 || err != nil {
			return all
		}
		_, _, all = unix.ParseDirent(buf[:n], -1, all)
	}
}

func descriptorPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
