package rules

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long files must be quiet before they are read: an editor
	// truncates, writes, renames in a burst.
	settle = 20 * time.Millisecond
	// patience bounds settling where the burst does not end.
	patience = 60 * time.Millisecond
	// grace is how long a file that became empty or vanished may take to come back
	// before that counts: whoever writes is between truncating and writing.
	grace = 150 * time.Millisecond
	// lineGrace is the same for a file whose last line lost its end. It is shorter,
	// for there are editors that save like that on purpose.
	lineGrace = 40 * time.Millisecond
	// pollEvery is the beat of looking where the system cannot notify.
	pollEvery = time.Second
)

// Reload is what came of a change of the files. Exactly one of Set, Err and
// Notice is set.
type Reload struct {
	Set    *Set   // is live now
	Change Change // against the Set before it
	// Err is why the files were refused; the old Set stays. place.Detail shows it
	// with its line and caret.
	Err error
	// Beside is set where Err is that of the other part: see Watcher.Beside.
	Beside bool
	// Notice tells of the watching itself: that files must be polled, and why.
	Notice string
}

// Watcher keeps an engine's rules as the files have them.
type Watcher struct {
	engine *Engine
	places []Place
	opts   Options
	report func(Reload)
	beside func([]Source, *Set) (commit func(), err error)

	listen func() (*fsnotify.Watcher, error) // for tests to refuse
	every  time.Duration                     // between two looks where files are polled

	notify  *fsnotify.Watcher // nil where the system has none to give
	watched map[string]watchedDir
	polling bool
	last    reading // the latest one that was parsed, good or bad
}

// NewWatcher returns a watcher of the files and folders at places. report is
// called from Run, for each change that was made live or refused; it must not block.
func NewWatcher(e *Engine, places []Place, opts Options, report func(Reload)) *Watcher {
	return &Watcher{
		engine: e, places: places, opts: opts, report: report,
		listen: fsnotify.NewWatcher, every: pollEvery, watched: map[string]watchedDir{},
	}
}

// Beside lets another part of the files change together with the rules: read is called
// with each new reading and the rules in it, and its commit, which may be nil, once the rules are live. Its
// error refuses the reading as a whole, as errors of the rules do. Both are called from
// Run, and must not block. It is to be called before Run.
func (w *Watcher) Beside(read func([]Source, *Set) (commit func(), err error)) { w.beside = read }

// Run watches until ctx ends, and then returns nil. What changed between the
// loading of the engine's Set and now is loaded first.
func (w *Watcher) Run(ctx context.Context) error {
	w.last = reading{digest: w.engine.Set().digest, bodies: bodiesThen(w.engine.Set())}
	var events chan fsnotify.Event
	var failures chan error
	notify, err := w.listen()
	if err != nil {
		w.poll(err)
	} else {
		defer func() { _ = notify.Close() }()
		w.notify, events, failures = notify, notify.Events, notify.Errors
	}
	s := schedule{quiet: time.NewTimer(0)}
	defer s.quiet.Stop()
	beat := time.NewTicker(w.every)
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
				w.follow()
				w.look(&s)
			}
		case <-s.quiet.C:
			s.began = time.Time{}
			w.follow()
			w.look(&s)
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

// look reads the files, and makes them live if they are new, whole and right.
func (w *Watcher) look(s *schedule) {
	r := w.read()
	if r.same(w.last) {
		w.last.sources = r.sources // unknown at the start
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
		w.report(Reload{Err: r.err})
		return
	}
	set, err := Parse(r.sources, w.opts)
	if err != nil {
		w.report(Reload{Err: err})
		return
	}
	var commit func()
	if w.beside != nil {
		if commit, err = w.beside(r.sources, set); err != nil {
			w.report(Reload{Err: err, Beside: true})
			return
		}
	}
	w.last.bodies = bodiesThen(set)
	change := w.engine.Swap(set)
	if w.follow() {
		s.touch() // a body file that is new may have changed before it was watched
	}
	if commit != nil {
		commit()
	}
	w.report(Reload{Set: set, Change: change})
}

// poll says once that files are looked at every second, and why.
func (w *Watcher) poll(err error) {
	if w.polling {
		return
	}
	w.polling = true
	w.report(Reload{Notice: fmt.Sprintf("rule files cannot be watched (%s): looking at them every %s instead", err, w.every)})
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
	return d.names[base] || d.members && isRuleFile(base)
}

// reading is what the files held at one moment.
type reading struct {
	sources []Source
	digest  uint64
	bodies  uint64 // of body files
	err     error  // a file could not be read
}

func (w *Watcher) read() reading {
	r := reading{bodies: bodiesNow(w.engine.Set())}
	r.sources, r.err = read(w.places)
	r.digest = digestOf(r.sources)
	return r
}

func (r reading) same(o reading) bool {
	if r.err != nil || o.err != nil {
		return r.err != nil && o.err != nil && r.err.Error() == o.err.Error()
	}
	return r.digest == o.digest && r.bodies == o.bodies
}

// unfinished returns how long to wait for the rest where the reading looks like
// a file being written: one cannot be read, is empty, or lost the end of its
// last line, and was not so before. 0 where it looks whole.
func (r reading) unfinished(before reading) time.Duration {
	if r.err != nil {
		return grace
	}
	old := map[string]Source{}
	for _, s := range before.sources {
		old[s.Name] = s
	}
	var wait time.Duration
	for _, s := range r.sources {
		o, known := old[s.Name]
		delete(old, s.Name)
		if len(s.Data) == 0 && (!known || len(o.Data) > 0) {
			return grace
		}
		if known && endsLine(o.Data) && !endsLine(s.Data) {
			wait = lineGrace
		}
	}
	if len(old) > 0 { // one of a folder is gone: removed, or about to be replaced
		return grace
	}
	return wait
}

func endsLine(data []byte) bool { return len(data) > 0 && data[len(data)-1] == '\n' }
