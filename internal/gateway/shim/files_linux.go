package shim

import (
	"strconv"
	"syscall"
)

// Small stand-ins for package os, which is not initialised yet.

func read(name string) string {
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = syscall.Close(fd) }()
	var all []byte
	buf := make([]byte, 4096)
	for {
		n, err := syscall.Read(fd, buf)
		if err == syscall.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			return string(all)
		}
		all = append(all, buf[:n]...)
	}
}

func write(name, text string) error { return create(name, syscall.O_WRONLY, -1, []byte(text)) }

// create writes a whole file: a copy of base, -1 for none, and content after it.
// flags say whether it is made; then all may read it, whatever this process's umask.
func create(name string, flags, base int, content []byte) error {
	fd, err := syscall.Open(name, flags|syscall.O_CLOEXEC, 0o444)
	if err != nil {
		return at("open "+name, err)
	}
	defer func() { _ = syscall.Close(fd) }()
	if flags&syscall.O_CREAT != 0 {
		if err := syscall.Fchmod(fd, 0o444); err != nil {
			return at("fchmod "+name, err)
		}
	}
	for base >= 0 {
		n, err := syscall.Sendfile(fd, base, nil, 1<<20)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return at("copy to "+name, err)
		case n == 0:
			base = -1
		}
	}
	for len(content) > 0 {
		n, err := syscall.Write(fd, content)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return at("write "+name, err)
		default:
			content = content[n:]
		}
	}
	return nil
}

func exists(name string) bool { return syscall.Access(name, syscall.F_OK) == nil }

// names returns what is in a directory.
func names(dir string) (all []string) {
	fd, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = syscall.Close(fd) }()
	buf := make([]byte, 8<<10)
	for {
		n, err := syscall.ReadDirent(fd, buf)
		if n <= 0 || err != nil {
			return all
		}
		_, _, all = syscall.ParseDirent(buf[:n], -1, all)
	}
}

func descriptorPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
