package rules

import (
	"context"

	"github.com/understudy-proxy/understudy/internal/watch"
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
}

// NewWatcher returns a watcher of the files and folders at places. report is
// called from Run, for each change that was made live or refused; it must not block.
func NewWatcher(e *Engine, places []Place, opts Options, report func(Reload)) *Watcher {
	return &Watcher{engine: e, places: places, opts: opts, report: report}
}

// Beside lets another part of the files change together with the rules: read is called
// with each new reading and the rules in it, and its commit, which may be nil, once the rules are live. Its
// error refuses the reading as a whole, as errors of the rules do. Both are called from
// Run, and must not block. It is to be called before Run.
func (w *Watcher) Beside(read func([]Source, *Set) (commit func(), err error)) { w.beside = read }

// Run watches until ctx ends, and then returns nil. What changed between the
// loading of the engine's Set and now is loaded first.
func (w *Watcher) Run(ctx context.Context) error {
	set := w.engine.Set()
	return watch.New(watch.Options{
		What: what, Places: watched(w.places), Digest: set.digest, Named: set.bodyFiles, Take: w.take,
		Refuse: func(err error) { w.report(Reload{Err: err}) },
		Notice: func(text string) { w.report(Reload{Notice: text}) },
	}).Run(ctx)
}

// take makes a reading live, or says why not.
func (w *Watcher) take(_ context.Context, files []watch.File) ([]watch.Named, error) {
	sources := sourcesOf(files, w.places)
	set, err := parse(sources, w.opts)
	if err != nil {
		w.report(Reload{Err: err})
		return set.bodyFiles, err
	}
	var commit func()
	if w.beside != nil {
		if commit, err = w.beside(sources, set); err != nil {
			w.report(Reload{Err: err, Beside: true})
			return set.bodyFiles, err
		}
	}
	change := w.engine.Swap(set)
	if commit != nil {
		commit()
	}
	w.report(Reload{Set: set, Change: change})
	return set.bodyFiles, nil
}
