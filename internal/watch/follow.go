package watch

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/understudy-proxy/understudy/internal/timing"
)

// watchedDir is a folder under watch.
type watchedDir struct {
	info    fs.FileInfo     // which folder it was: another may take its name
	names   map[string]bool // what in it matters
	members bool            // every file that isMember does
}

// follow puts the folders under watch that the files hang on now: links move,
// folders are replaced. It reports whether some are new.
func (w *Watcher) follow() (added bool) {
	if w.notify == nil {
		return false
	}
	want := map[string]watchedDir{}
	for _, p := range w.o.Places {
		chain(want, p.Path)
	}
	for _, f := range w.named {
		chain(want, f.Path)
	}
	for dir, now := range w.watched {
		if next, still := want[dir]; !still || !os.SameFile(now.info, next.info) {
			_ = w.notify.Remove(dir) // it may be gone, and its watch with it
			delete(w.watched, dir)
		}
	}
	listed := w.notify.WatchList()
	for dir, next := range want {
		if !slices.Contains(listed, dir) {
			if err := w.notify.Add(dir); err != nil {
				if !os.IsNotExist(err) { // gone since: its parent tells
					w.poll(err)
				}
				continue
			}
			added = true
		}
		w.watched[dir] = next
	}
	return added
}

// chain adds to want all folders in which something could change what path
// leads to: that of each link on the way, that of the file, and for a folder
// itself too. What does not exist is waited for in the nearest folder that does.
func chain(want map[string]watchedDir, path string) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return
	}
	rest := strings.Split(strings.TrimPrefix(abs, "/"), "/")
	at := "/"
	for hops := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if err != nil {
			add(want, at, name, false)
			return
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			add(want, at, name, false)
			target, err := os.Readlink(next)
			if hops++; err != nil || hops > 40 { // as many as Linux follows
				return
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		}
		if len(rest) == 0 || !slices.ContainsFunc(rest, func(s string) bool { return s != "" && s != "." }) {
			add(want, at, name, false)
			if info.IsDir() {
				add(want, next, "", true)
				membersOf(want, next)
			}
		}
		at = next
	}
}

// membersOf follows the links among a folder's files.
func membersOf(want map[string]watchedDir, dir string) {
	items, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, item := range items {
		if item.Type()&fs.ModeSymlink != 0 && isMember(item.Name()) {
			path := filepath.Join(dir, item.Name())
			if info, err := os.Stat(path); err == nil && !info.IsDir() {
				chain(want, path)
			}
		}
	}
}

func add(want map[string]watchedDir, dir, name string, members bool) {
	d, ok := want[dir]
	if !ok {
		info, err := os.Stat(dir)
		if err != nil {
			return
		}
		d = watchedDir{info: info, names: map[string]bool{}}
	}
	if name != "" {
		d.names[name] = true
	}
	d.members = d.members || members
	want[dir] = d
}

// trace tells states of the files apart without reading them, but for what happens to one
// within the grain of its clock. It is for what the system does not tell of: folders far above that change
// their names, file systems whose other side writes.
func (w *Watcher) trace() uint64 {
	sum := uint64(0)
	add := func(path string) {
		info, err := os.Stat(path)
		if err != nil {
			sum = timing.Mix(sum, 0)
			return
		}
		inode := uint64(0)
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			inode = stat.Ino
		}
		sum = timing.Mix(timing.MixString(sum, path), inode, uint64(info.Size()), uint64(info.ModTime().UnixNano()), uint64(info.Mode()))
	}
	for _, p := range w.o.Places {
		add(p.Path)
		items, err := os.ReadDir(p.Path)
		if err != nil { // a file
			continue
		}
		for _, item := range items {
			if isMember(item.Name()) {
				add(filepath.Join(p.Path, item.Name()))
			}
		}
	}
	for _, n := range w.named {
		add(n.Path)
	}
	return sum
}
