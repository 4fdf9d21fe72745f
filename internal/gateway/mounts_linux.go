package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// cover puts the files over those that are there, in this process's own mount
// namespace. Contents lie in a tmpfs that is nowhere to be seen: it is mounted
// for a moment, and its files live on in their bind mounts.
func cover(files []coverOrder, contents [][]byte) error {
	// Slave and not private: what the host unmounts goes away here too.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("separate the mounts from the host's: %w", err)
	}
	type pair struct{ from, over int }
	var pairs []pair
	var all []int
	defer func() {
		for _, fd := range all {
			_ = unix.Close(fd)
		}
	}()
	find := func(path string) (int, error) {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err == nil {
			all = append(all, fd)
		}
		return fd, err
	}
	// All is found before the tmpfs can hide any of it.
	for _, f := range files {
		over, err := find(f.Path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("find %s: %w", f.Path, err)
		}
		from := -1 - f.Content
		if f.Source != "" {
			if from, err = find(f.Source); err != nil {
				return fmt.Errorf("find %s, to be seen at %s: %w", f.Source, f.Path, err)
			}
		}
		pairs = append(pairs, pair{from, over})
	}
	if len(pairs) == 0 {
		return nil
	}
	dir, err := scratch()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	for i, content := range contents {
		if err := os.WriteFile(dir+"/"+strconv.Itoa(i), content, 0o444); err != nil {
			return err
		}
	}
	for _, p := range pairs {
		from := descriptorPath(p.from)
		if p.from < 0 {
			from = dir + "/" + strconv.Itoa(-1-p.from)
		}
		if err := unix.Mount(from, descriptorPath(p.over), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind over %s: %w", where(p.over), err)
		}
	}
	return nil
}

// scratch mounts an empty tmpfs on a directory that every system has.
func scratch() (dir string, err error) {
	for _, dir = range []string{"/tmp", "/run", "/var", "/dev", "/usr"} {
		err = unix.Mount("understudy", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755")
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			break
		}
	}
	return "", fmt.Errorf("mount a tmpfs: %w", err)
}

func descriptorPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// where says for people what a descriptor points to.
func where(fd int) string {
	if path, err := os.Readlink(descriptorPath(fd)); err == nil {
		return path
	}
	return "a file"
}
