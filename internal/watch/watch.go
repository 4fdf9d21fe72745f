package watch

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/understudy-proxy/understudy/internal/timing"
)

const (
	// settle is how long files must be quiet before they are read: an editor
	// truncates, writes, renames in a burst.
	settle = 20 * time.Millisecond
	// patience bounds settling where the burst does not end: some write a file line by
	// line, and a half of it may read well.
	patience = time.Second
	// grace is how long a file that became empty, vanished or cannot be read may take to come back
	// before that counts: whoever writes is between truncating and writing.
	grace = 150 * time.Millisecond
	// lineGrace is the same for a file whose last line lost its end. It is shorter,
	// for there are editors that save like that on purpose.
	lineGrace = 40 * time.Millisecond
	// pollEvery is the beat of looking where the system cannot notify, and of looking for
	// what it did not tell of.
	pollEvery = time.Second
	// share is the most of a processor that the latter may take, as 1 of so many.
	share = 200
)

// Options say what is watched, and who is told. The functions are called from Run, one at
// a time.
type Options struct {
	What   string // is in the files, "rules", for errors and notices
	Places []Place
	// Digest and Named are of the reading that is live when Run begins.
	Digest uint64
	Named  []Named
	// Take makes a reading live; or refuses it, and the old one stays. It returns the files
	// that the reading names in both cases, Gone ones too: one that is refused may want nothing
	// else. It must tell of both itself. The bytes are its own. Where ctx ends it may
	// return at once, and tells nothing.
	Take func(ctx context.Context, files []File) ([]Named, error)
	// Refuse tells that the files cannot be read; the old reading stays.
	Refuse func(err error)
	// Notice tells of the watching itself: that files must be polled, and why.
	Notice func(text string)
}

// Watcher watches files.
type Watcher struct {
	o     Options
	named []Named // of the latest reading that was taken or refused

	// Listen is fsnotify.NewWatcher, and Every how long it is between two looks where files
	// are polled: for tests to replace before Run.
	Listen func() (*fsnotify.Watcher, error)
	Every  time.Duration

	notify  *fsnotify.Watcher // nil where the system has none to give
	watched map[string]watchedDir
	polling bool
	last    reading // the latest one that was taken or refused
	traces  uint64  // of the files when they were read last
}

// New returns a watcher.
func New(o Options) *Watcher {
	return &Watcher{o: o, named: o.Named, Listen: fsnotify.NewWatcher, Every: pollEvery, watched: map[string]watchedDir{}}
}

// Run watches until ctx ends, and then returns nil. What changed between the reading that
// is live and now is read first.
func (w *Watcher) Run(ctx context.Context) error {
	w.last = reading{digest: w.o.Digest, named: then(w.named)}
	var events chan fsnotify.Event
	var failures chan error
	notify, err := w.Listen()
	if err != nil {
		w.poll(err)
	} else {
		defer func() { _ = notify.Close() }()
		w.notify, events, failures = notify, notify.Events, notify.Errors
	}
	s := schedule{quiet: time.NewTimer(0)}
	defer s.quiet.Stop()
	beat := time.NewTicker(w.Every)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev, open := <-events:
			if !open {
				events = nil
				continue
			}
			if w.concerns(ev.Name) {
				s.touch()
			}
		case err, open := <-failures:
			if !open {
				failures = nil
				continue
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				w.poll(err)
			}
			s.touch() // whatever was missed
		case <-beat.C:
			if w.polling {
				w.look(ctx, &s)
				continue
			}
			began := time.Now()
			if w.trace() != w.traces {
				s.touch()
			}
			beat.Reset(max(w.Every, share*time.Since(began)))
		case <-s.quiet.C:
			s.began = time.Time{}
			w.look(ctx, &s)
		}
	}
}

// schedule says when to read.
type schedule struct {
	quiet *time.Timer
	began time.Time // of the burst; zero for none
	doubt time.Time // since when the reading looks unfinished; zero where it does not
}

// touch puts reading off until the files are quiet, within patience.
func (s *schedule) touch() {
	now := time.Now()
	if s.began.IsZero() {
		s.began = now
	}
	s.quiet.Reset(min(settle, max(0, s.began.Add(patience).Sub(now))))
}

// look reads the files, and has them taken if they are new and whole.
func (w *Watcher) look(ctx context.Context, s *schedule) {
	for range 10 { // what came between looking for a folder and watching it
		if !w.follow() {
			break
		}
	}
	w.traces = w.trace()
	r, files := w.read()
	if r.same(w.last) {
		w.last.marks, w.last.bodies = r.marks, r.bodies // unknown at the start
		s.doubt = time.Time{}
		return
	}
	if wait := r.unfinished(w.last); wait > 0 {
		now := time.Now()
		if s.doubt.IsZero() {
			s.doubt = now
		}
		if now.Sub(s.doubt) < wait {
			s.quiet.Reset(settle)
			return
		}
	}
	s.doubt = time.Time{}
	w.last = r
	if r.err != nil {
		w.o.Refuse(r.err)
		return
	}
	named, _ := w.o.Take(ctx, files)
	w.named, w.last.named, w.last.bodies = named, then(named), map[string]bool{}
	for _, n := range named {
		w.last.bodies[n.Path] = nothing(n.Sum)
	}
	if w.follow() {
		s.touch() // a named file that is new may have changed before it was watched
	}
}

// poll says once that files are looked at every second, and why.
func (w *Watcher) poll(err error) {
	if w.polling {
		return
	}
	w.polling = true
	w.o.Notice(fmt.Sprintf("%s cannot be watched (%s): looking at their files every %s instead", w.o.What, err, w.Every))
}

// concerns reports whether a name that an event gave matters.
func (w *Watcher) concerns(name string) bool {
	if _, dir := w.watched[name]; dir {
		return true
	}
	d, ok := w.watched[filepath.Dir(name)]
	if !ok {
		return true // of a folder that is not followed any more
	}
	base := filepath.Base(name)
	return d.names[base] || d.members && isMember(base)
}

// reading is what is remembered of what the files held at one moment.
type reading struct {
	marks  map[string]mark
	bodies map[string]bool // of the named files: whether they are empty, or gone
	digest uint64
	named  uint64
	err    error // a file could not be read
}

// mark is how a file ended.
type mark struct{ empty, line bool }

func (w *Watcher) read() (reading, []File) {
	r := reading{marks: map[string]mark{}, bodies: make(map[string]bool, len(w.named))}
	for i := range w.named {
		sum := w.named[i].now()
		r.named = timing.Mix(r.named, sum)
		r.bodies[w.named[i].Path] = nothing(sum)
	}
	var files []File
	files, r.err = Read(w.o.What, w.o.Places)
	for _, f := range files {
		n := len(f.Data)
		r.marks[f.Name] = mark{n == 0, n > 0 && f.Data[n-1] == '\n'}
	}
	r.digest = Digest(files)
	return r, files
}

// then is what reading.named was when the files were read.
func then(named []Named) uint64 {
	sum := uint64(0)
	for _, n := range named {
		sum = timing.Mix(sum, n.Sum)
	}
	return sum
}

func (r reading) same(o reading) bool {
	if r.err != nil || o.err != nil {
		return r.err != nil && o.err != nil && r.err.Error() == o.err.Error()
	}
	return r.digest == o.digest && r.named == o.named
}

// unfinished returns how long to wait for the rest where the reading looks like
// a file being written: one cannot be read, is empty, or lost the end of its
// last line, or a named one is empty or gone, and was not so before. 0 where it looks whole.
func (r reading) unfinished(before reading) time.Duration {
	if r.err != nil {
		return grace
	}
	var wait time.Duration
	for name, now := range r.marks {
		old, known := before.marks[name]
		if now.empty && (!known || !old.empty) {
			return grace
		}
		if known && old.line && !now.line {
			wait = lineGrace
		}
	}
	for path, empty := range r.bodies {
		if was, known := before.bodies[path]; empty && known && !was {
			return grace
		}
	}
	for name := range before.marks { // one of a folder is gone: removed, or about to be replaced
		if _, still := r.marks[name]; !still {
			return grace
		}
	}
	return wait
}
