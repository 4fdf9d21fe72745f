package app

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/understudy-proxy/understudy/internal/gateway"
)

// cache is a directory of this user's for what takes long to make from files that
// seldom change; "" keeps nothing. It may be removed at any time.
type cache string

// userCache is the cache of this user's runs.
func userCache() cache {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return cache(filepath.Join(dir, "understudy"))
}

// file returns what is to be seen at path: what build makes of the files in from ("" is
// none) and of also. It is made anew when one of them has changed.
func (c cache) file(path, kind string, from []string, also []byte, build func() ([]byte, error)) (gateway.File, error) {
	name, ok := c.name(path, kind, from, also)
	if ok && own(name) {
		return gateway.File{Path: path, Base: name}, nil
	}
	data, err := build()
	if err != nil {
		return gateway.File{}, err
	}
	if ok && c.keep(name, data) == nil {
		c.forget(name)
	}
	return gateway.File{Path: path, Content: data}, nil
}

// name is where something is kept: the first part tells what it is, the second of
// which state of which files it was made. It is not ok where nothing can be kept.
func (c cache) name(path, kind string, from []string, also []byte) (name string, ok bool) {
	if c == "" {
		return "", false
	}
	h := sha256.New()
	for _, f := range from {
		if f == "" {
			continue
		}
		info, err := os.Stat(f)
		if err != nil {
			return "", false
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return "", false
		}
		fmt.Fprintf(h, "%q %d %d %v\n", f, info.Size(), info.ModTime().UnixNano(), stat.Ino)
	}
	h.Write(also)
	what := sha256.Sum256([]byte(path))
	return filepath.Join(string(c), hex.EncodeToString(what[:8])+"-"+hex.EncodeToString(h.Sum(nil)[:16])+"."+kind), true
}

// own reports whether a file is there that only this user can have written.
func own(name string) bool {
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// keep writes a file at once: who reads it sees all of it or none.
func (c cache) keep(name string, data []byte) error {
	if err := os.MkdirAll(string(c), 0o700); err != nil {
		return err
	}
	c.sweep()
	f, err := os.CreateTemp(string(c), unfinished) // with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// unfinished are files that are being written, or were by a run that was killed; abandoned
// is when the latter is sure.
const (
	unfinished = ".new-*"
	abandoned  = time.Hour
)

// sweep removes what killed runs have not finished.
func (c cache) sweep() {
	files, err := filepath.Glob(filepath.Join(string(c), unfinished))
	if err != nil {
		return
	}
	for _, f := range files {
		if info, err := os.Lstat(f); err == nil && time.Since(info.ModTime()) > abandoned {
			_ = os.Remove(f)
		}
	}
}

// forget removes what was made of earlier states of the same files.
func (c cache) forget(name string) {
	base := filepath.Base(name)
	old, err := filepath.Glob(filepath.Join(string(c), base[:16]+"-*"))
	if err != nil {
		return
	}
	for _, f := range old {
		if f != name {
			_ = os.Remove(f)
		}
	}
}
