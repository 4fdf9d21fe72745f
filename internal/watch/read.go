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

// Sum is a Named's of what a file holds.
func Sum(data []byte) uint64 { return timing.MixString(0, string(data)) }

// SumOfSize is a Named's whose Size is set.
func SumOfSize(n int64) uint64 { return timing.Mix(0, uint64(n)) }

// Changed reports whether the file is another than the one that was read.
func (n Named) Changed() bool { return n.now() != n.Sum }

// now is n's Sum as its file is now. Gone is a change, too.
func (n Named) now() uint64 {
	if n.Size {
		info, err := os.Stat(n.Path)
		if err != nil {
			return 0
		}
		return SumOfSize(info.Size())
	}
	data, _ := os.ReadFile(n.Path)
	return Sum(data)
}

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
		case info.Mode()&fs.ModeNamedPipe != 0:
			return nil, &place.Error{
				File: p.Path, Msg: fmt.Sprintf("read %s: want a file or a folder, got a pipe", what),
				Hint: what + " are read again when they change, and a pipe can be read once: save them in a file",
			}
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, readError(what, path, err)
			}
			files = append(files, File{path, data, i})
		}
	}
	return files, nil
}

// readError is err with the file as its place.
func readError(what, path string, err error) error {
	text := err.Error()
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		text = pe.Err.Error()
	}
	return &place.Error{File: path, Msg: fmt.Sprintf("read %s: %s", what, text)}
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
