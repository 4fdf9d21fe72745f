package recorder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

// disk is where a recording goes. Its methods are called from one goroutine,
// but for sync, which may run beside the others.
type disk interface {
	// write appends whole lines. After an error nothing of p is there.
	write(p []byte) error
	// sync returns once what was written and stored before survives a power cut.
	sync() error
	// body starts a body's file. red takes the secrets out; nil where they are
	// out already, or stay.
	body(h fixtures.Header, red *redact.Redactor) (spool, error)
	manifest(m *cassette.Manifest) error
	// discard removes what was made for a recording that has nothing.
	discard() error
	// close gives up the lock too.
	close() error
}

// spool is a body on its way to a file.
type spool interface {
	Write(p []byte) (int, error)
	// Commit makes the file last, and sets what b says of it. What is there
	// already, by its SHA-256, is not kept twice.
	Commit(b *fixtures.Body, there func(sha string) bool) (taken []string, err error)
	Abort() error
}

// files is a cassette's directory as a disk.
type files struct {
	dir    string
	made   []string // files and directories that were not there, to be removed in this order
	lines  *os.File
	size   atomic.Int64 // of the whole lines
	cached int64        // from where on lines may be in the page cache; sync's alone
	unlock func() error
	syncer *syncer // sync's alone, until close

	mu    sync.Mutex
	fresh []string // body files that are not synced yet, by path
}

func (d *files) write(p []byte) error {
	n, err := d.lines.Write(p)
	if err == nil {
		d.size.Add(int64(n))
		return nil
	}
	// Half a line must not stay: it would look like a crash.
	if cut := d.lines.Truncate(d.size.Load()); cut != nil {
		err = errors.Join(err, cut)
	}
	return err
}

// Bodies are synced first. The lines are not held back for it, though: a disk
// that is busy would keep them in memory, where a SIGKILL takes them. What a power
// cut may leave is a line whose body is not whole, and the body's SHA-256 tells.
func (d *files) sync() error {
	if err := d.syncBodies(); err != nil {
		return err
	}
	size := d.size.Load()
	if err := d.syncer.sync(d.lines); err != nil {
		return err
	}
	if size-d.cached >= 2*uncacheLag {
		uncache(d.lines, d.cached, size)
		d.cached = size - uncacheLag
	}
	return nil
}

// uncacheLag is how much before the end of what was let go of is let go of again: a
// piece of the page cache that lines were still added to stayed then.
const uncacheLag = 1 << 20

func (d *files) body(h fixtures.Header, red *redact.Redactor) (spool, error) {
	w, err := cassette.NewBody(d.dir, red, h)
	if err != nil {
		return nil, err
	}
	return &fileSpool{w, d}, nil
}

// fileSpool notes what has to be synced.
type fileSpool struct {
	*cassette.BodyWriter
	d *files
}

func (s *fileSpool) Commit(b *fixtures.Body, there func(sha string) bool) ([]string, error) {
	fresh := false
	taken, err := s.CommitUnless(b, func(sha string) bool {
		fresh = !there(sha)
		return !fresh
	})
	if err == nil && fresh {
		s.d.mu.Lock()
		defer s.d.mu.Unlock()
		s.d.fresh = append(s.d.fresh, filepath.Join(s.d.dir, cassette.BodyPath(b.File)))
	}
	return taken, err
}

// syncBodies makes the bodies stored since the last call survive a power cut.
func (d *files) syncBodies() error {
	d.mu.Lock()
	paths := d.fresh
	d.fresh = nil
	d.mu.Unlock()
	if len(paths) == 0 {
		return nil
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	for some := range slices.Chunk(paths, syncsAtOnce) {
		if err := d.syncPaths(some); err != nil {
			return err
		}
	}
	return d.syncPaths([]string{filepath.Join(d.dir, cassette.BodiesDir)})
}

// syncPaths syncs files or directories, syncsAtOnce at most.
func (d *files) syncPaths(paths []string) (err error) {
	opened := make([]*os.File, 0, len(paths))
	defer func() {
		for _, f := range opened {
			err = errors.Join(err, f.Close())
		}
	}()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		opened = append(opened, f)
	}
	return d.syncer.sync(opened...)
}

// manifest fails where what the lines went to is no longer under its name: a manifest would
// tell of exchanges that are gone.
func (d *files) manifest(m *cassette.Manifest) error {
	switch there, _, err := d.there(); {
	case err != nil:
		return err
	case !there:
		return fmt.Errorf("%s was removed or replaced while it was written: what was recorded is gone", d.lines.Name())
	}
	return cassette.WriteManifest(d.dir, m)
}

func (d *files) discard() error {
	there, size, err := d.there()
	if err != nil || !there || size > 0 { // not there: moved away, say
		return err
	}
	return removeMade(d.made)
}

// there reports whether the file that lines go to is under its name, and its size.
func (d *files) there() (there bool, size int64, err error) {
	ours, err := d.lines.Stat()
	if err != nil {
		return false, 0, err
	}
	named, err := os.Stat(d.lines.Name()) // which may be a link that somebody made
	return err == nil && os.SameFile(ours, named), ours.Size(), nil
}

// removeMade removes files and then directories that are empty: what others have put into
// one by now is theirs.
func removeMade(paths []string) error {
	for _, p := range paths {
		switch err := os.Remove(p); {
		case err == nil, errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, syscall.ENOTEMPTY), errors.Is(err, fs.ErrExist):
			return nil
		default:
			return err
		}
	}
	return nil
}

// makeDirs makes dir and those above it. made are those that it made, the deepest first: no
// others are ours to remove.
func makeDirs(dir string) (made []string, err error) {
	dir = filepath.Clean(dir)
	var missing []string
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append(missing, at)
	}
	for _, at := range slices.Backward(missing) {
		switch err := os.Mkdir(at, cassette.DirMode); {
		case err == nil:
			made = append([]string{at}, made...)
		case !errors.Is(err, fs.ErrExist): // else another made it just now
			return made, err
		}
	}
	return made, os.MkdirAll(dir, cassette.DirMode) // says what is wrong with what is there
}

func (d *files) close() error { return errors.Join(d.syncer.close(), d.lines.Close(), d.unlock()) }

// openCassette makes dir ready to be recorded into. base is the highest ID that
// is there already. On an error nothing is left that was not there.
func openCassette(dir string, o *Options) (d *files, m *cassette.Manifest, base uint64, err error) {
	made, err := makeDirs(dir)
	defer func() {
		if err != nil {
			_ = removeMade(made)
		}
	}()
	if err != nil {
		return nil, nil, 0, err
	}
	unlock, there, err := take(dir, o.Append)
	if errors.Is(err, cassette.ErrLocked) {
		made = nil // it is another's now
	}
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() {
		if err != nil {
			_ = unlock()
		}
	}()
	m = cassette.NewManifest(o.Tool, o.Now(), o.Redaction)
	file := filepath.Join(dir, cassette.ExchangesFile)
	if there {
		if m, base, err = resume(dir, o); err != nil {
			return nil, nil, 0, err
		}
	} else {
		made = append([]string{file, filepath.Join(dir, cassette.ManifestFile)}, made...)
	}
	lines, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, cassette.FileMode)
	if err != nil {
		return nil, nil, 0, err
	}
	info, err := lines.Stat()
	if err != nil {
		lines.Close()
		return nil, nil, 0, err
	}
	// The manifest, written next, syncs the directory and with it this name.
	d = &files{dir: dir, made: made, lines: lines, cached: info.Size(), unlock: unlock, syncer: newSyncer()}
	d.size.Store(info.Size())
	return d, m, base, nil
}

// take locks dir, and reports whether it holds a recording, which is whole then and may be
// added to. That is found out under the lock: a recorder may have come and gone before.
func take(dir string, add bool) (unlock func() error, there bool, err error) {
	for repaired := false; ; repaired = true {
		if unlock, err = cassette.Lock(dir); err != nil {
			return nil, false, err
		}
		there, err = inspect(dir)
		if err == nil && there && !add {
			err = errors.New("a cassette is there already: choose another directory, or add to it with --append")
		}
		if err == nil && (!there || repaired) {
			return unlock, there, nil
		}
		if err = errors.Join(err, unlock()); err == nil {
			_, err = cassette.Repair(dir) // makes one whole that was cut short, and takes the lock itself
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// inspect reports whether dir holds a recording. A directory that holds neither
// that nor stubs nor nothing is an error: it is somebody's.
func inspect(dir string) (recorded bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	foreign := ""
	stubs := false
	for _, e := range entries {
		switch name := e.Name(); {
		case name == cassette.ManifestFile, name == cassette.ExchangesFile:
			recorded = true
		case name == cassette.StubsDir:
			stubs = true
		case name != cassette.BodiesDir && !strings.HasPrefix(name, "."):
			foreign = name
		}
	}
	if !recorded && !stubs && foreign != "" {
		return false, fmt.Errorf("want a new or empty directory, found %s in it", foreign)
	}
	return recorded, nil
}

// resume returns the manifest of the cassette in dir, set to recording, and the
// highest ID in use.
func resume(dir string, o *Options) (*cassette.Manifest, uint64, error) {
	c, err := cassette.Open(dir)
	if err != nil {
		return nil, 0, err
	}
	m := c.Manifest
	if clean := len(m.Redaction.Salts) > 0; clean == o.Redaction.Off {
		return nil, 0, fmt.Errorf("the cassette was recorded with redaction %s: append with the same, or record to another directory", onOff(clean))
	}
	m.Redaction.Config = union(m.Redaction.Config, o.Redaction)
	m.State = cassette.StateRecording
	var last, n uint64
	for x, err := range c.Exchanges() {
		if err != nil {
			return nil, 0, err
		}
		last = max(last, x.ID)
		n++
	}
	m.Counts.Exchanges = n
	return m, last, nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// union is what either configuration redacts; both redact or neither does.
func union(a, b redact.Config) redact.Config {
	join := func(x, y []string) []string {
		all := slices.Clone(x)
		for _, s := range y {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
		return all
	}
	return redact.Config{
		Off:      a.Off && b.Off,
		Headers:  join(a.Headers, b.Headers),
		Query:    join(a.Query, b.Query),
		JSON:     join(a.JSON, b.JSON),
		Form:     join(a.Form, b.Form),
		Patterns: join(a.Patterns, b.Patterns),
	}
}
