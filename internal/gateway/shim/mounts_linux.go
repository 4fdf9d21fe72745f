package shim

import (
	"strconv"
	"syscall"
)

// CoversType and CoversSource are what the file system of the covers is and where it is
// said to come from: a process that was captured is known by them.
const CoversType, CoversSource = "tmpfs", "understudy"

// cover puts the files over those that are there, in this process's own mount
// namespace. Contents lie in a tmpfs that is nowhere to be seen: it is mounted
// for a moment, and its files live on in their bind mounts.
func cover(files []Cover, contents []Content) error {
	// Slave and not private: what the host unmounts goes away here too.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SLAVE, ""); err != nil {
		return at("separate the mounts from the host's", err)
	}
	type pair struct{ from, over int }
	var pairs []pair
	var all []int
	defer func() {
		for _, fd := range all {
			_ = syscall.Close(fd)
		}
	}()
	find := func(path string, how int) (int, error) {
		fd, err := syscall.Open(path, how|syscall.O_CLOEXEC, 0)
		if err == nil {
			all = append(all, fd)
		}
		return fd, err
	}
	// All is found before the tmpfs can hide any of it.
	for _, f := range files {
		over, err := find(f.Path, openPath)
		if absent(err) {
			continue
		}
		if err != nil {
			return at("find "+f.Path, err)
		}
		from := -1 - f.Content
		if f.Source != "" {
			if from, err = find(f.Source, openPath); err != nil {
				return at("find "+f.Source+", to be seen at "+f.Path, err)
			}
		}
		pairs = append(pairs, pair{from, over})
	}
	if len(pairs) == 0 {
		return nil
	}
	bases := make([]int, len(contents))
	for i, c := range contents {
		bases[i] = -1
		if c.Base != "" {
			var err error
			if bases[i], err = find(c.Base, syscall.O_RDONLY); err != nil {
				return at("read "+c.Base, err)
			}
		}
	}
	dir, err := scratch()
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	for i, content := range contents {
		if err := create(dir+"/"+strconv.Itoa(i), syscall.O_WRONLY|syscall.O_CREAT, bases[i], content.Bytes); err != nil {
			return err
		}
	}
	for _, p := range pairs {
		from := descriptorPath(p.from)
		if p.from < 0 {
			from = dir + "/" + strconv.Itoa(-1-p.from)
		}
		if err := syscall.Mount(from, descriptorPath(p.over), "", syscall.MS_BIND, ""); err != nil {
			return at("bind over "+where(p.over), err)
		}
	}
	return nil
}

// scratch mounts an empty tmpfs on a directory that every system has.
func scratch() (dir string, err error) {
	for _, dir = range []string{"/tmp", "/run", "/var", "/dev", "/usr"} {
		err = syscall.Mount(CoversSource, dir, CoversType, syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, "mode=0755")
		if err == nil {
			return dir, nil
		}
		if !absent(err) {
			break
		}
	}
	return "", at("mount a tmpfs", err)
}

func absent(err error) bool { return err == syscall.ENOENT || err == syscall.ENOTDIR }

// where says for people what a descriptor points to.
func where(fd int) string {
	buf := make([]byte, 1024)
	n, err := syscall.Readlink(descriptorPath(fd), buf)
	if err != nil {
		return "a file"
	}
	return string(buf[:n])
}
