package watch

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// Place is a file; or a folder, for the *.yaml and *.yml in it, sorted by name, hidden
// ones left out.
type Place struct {
	Path string
	// Optional is set where it is no error that nothing is there.
	Optional bool
}

// File is what a file held.
type File struct {
	Name  string // with its folder as Place has it
	Data  []byte
	Place int // which place it is of
}

// Named is a file that files name: it belongs to what they say, and is watched with them.
type Named struct {
	Path string
	Sum  uint64 // of what it held when it was read
	// Size is set where only the length counts: it is read anew whenever it is used.
	Size bool
}

// Gone is a Named's Sum where there is no file, or none that can be read.
const Gone = 0

// Sum is a Named's of what a file holds.
func Sum(data []byte) uint64 { return timing.MixString(0, string(data)) }

// SumOfSize is a Named's whose Size is set.
func SumOfSize(n int64) uint64 { return timing.Mix(0, uint64(n)) }

// Changed reports whether the file is another than the one that was read.
func (n Named) Changed() bool { return n.now() != n.Sum }

// now is n's Sum as its file is now. Gone is a change, too.
func (n Named) now() uint64 {
	if n.Size {
		if info, err := os.Stat(n.Path); err == nil && info.Mode().IsRegular() {
			return SumOfSize(info.Size())
		}
		return Gone
	}
	data, err := ReadFile(n.Path)
	if err != nil {
		return Gone
	}
	return Sum(data)
}

// nothing reports whether a Named's sum is that of an empty file, or of none.
func nothing(sum uint64) bool { return sum == Gone || sum == Sum(nil) || sum == SumOfSize(0) }

// Read reads the files at places; what is what they hold, "rules", for errors. Those are
// *place.Error.
func Read(what string, places []Place) ([]File, error) {
	var files []File
	for i, p := range places {
		paths := []string{p.Path}
		switch info, err := os.Stat(p.Path); {
		case errors.Is(err, fs.ErrNotExist) && p.Optional:
			continue
		case err != nil: // told below
		case info.IsDir():
			if paths, err = members(what, p.Path); err != nil {
				return nil, err
			}
		}
		for _, path := range paths {
			data, err := ReadFile(path)
			if err != nil {
				return nil, readError(what, path, err)
			}
			files = append(files, File{path, data, i})
		}
	}
	return files, nil
}

// notFile says what stands where a file should: "a pipe".
type notFile string

func (n notFile) Error() string { return "want a file, got " + string(n) }

// ReadFile is os.ReadFile of what is a file, or the null device. What is not is never
// opened: nobody may write into a pipe, and a device may have no end.
func ReadFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return nil, notFile("a folder")
	case mode&fs.ModeNamedPipe != 0:
		return nil, notFile("a pipe")
	case mode&fs.ModeSocket != 0:
		return nil, notFile("a socket")
	case !mode.IsRegular():
		if null, err := os.Stat(os.DevNull); err == nil && os.SameFile(info, null) {
			return nil, nil
		}
		return nil, notFile("a device")
	}
	return os.ReadFile(path)
}

// readError is err with the file as its place.
func readError(what, path string, err error) error {
	e := &place.Error{File: path, Msg: fmt.Sprintf("read %s: %s", what, err)}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		e.Msg = fmt.Sprintf("read %s: %s", what, pe.Err)
	}
	if _, ok := errors.AsType[notFile](err); ok {
		e.Hint = what + " are read again when they change, and a pipe can be read once: save them in a file"
	}
	return e
}

// members lists a folder's files.
func members(what, dir string) ([]string, error) {
	items, err := os.ReadDir(dir)
	if err != nil {
		return nil, readError(what, dir, err)
	}
	var paths []string
	for _, item := range items { // sorted by name
		if !isMember(item.Name()) {
			continue
		}
		path := filepath.Join(dir, item.Name())
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			continue
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func isMember(name string) bool {
	return !strings.HasPrefix(name, ".") && slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(name))
}

// Digest tells readings apart.
func Digest(files []File) uint64 {
	h := fnv.New64a()
	for _, f := range files {
		fmt.Fprintf(h, "%q %d ", f.Name, len(f.Data))
		h.Write(f.Data)
	}
	return h.Sum64()
}
