package app

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/match"
	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/fixtures/stub"
	"github.com/understudy-proxy/understudy/internal/watch"
)

// stubFiles keeps a player's stubs as their files have them. But for load it is the
// watcher's, once that runs.
type stubFiles struct {
	player *player
	of     []stubPlace
	places []watch.Place
	decks  int    // that add was told of
	digest uint64 // of all, at the start
}

// stubPlace is where one cassette's stubs live, and what of them is in force.
type stubPlace struct {
	cassette string
	deck     int
	digest   uint64
	named    []watch.Named
	set      *stub.Set // nil before the first
	filed    *match.Stubs
	full     map[string]bool // its files that hold something
}

// manyStubs is from how many stubs on what reading them left behind, several times what they
// take, is given back at once: the collector would leave it for minutes.
const manyStubs = 10_000

// aTurn is after how many stubs those who wait for the processor get it: half a millisecond.
const aTurn = 16

// add notes where the stubs of the next deck live, if it can have any.
func (f *stubFiles) add(c *cassette.Cassette) {
	at := watch.Place{Path: c.Path}
	if info, err := os.Stat(c.Path); err == nil && info.IsDir() {
		at = watch.Place{Path: filepath.Join(c.Path, cassette.StubsDir), Optional: true}
	} else if !isYAML(c.Path) {
		at.Path = "" // recordings alone
	}
	if at.Path != "" {
		f.places = append(f.places, at)
		f.of = append(f.of, stubPlace{cassette: c.Path, deck: f.decks})
	}
	f.decks++
}

// load reads the stubs of all decks of p.
func (f *stubFiles) load(p *player) error {
	f.player = p
	files, err := watch.Read(stubsAre, f.places)
	if err != nil {
		return err
	}
	f.digest = watch.Digest(files)
	if _, _, err = f.swap(context.Background(), files); err != nil {
		return err
	}
	giveBack(p.now.Load().stubs)
	return nil
}

// stubsAre what is in the files, for errors.
const stubsAre = "stubs"

// readStubs reads files of one cassette's stubs.
func readStubs(names ...string) ([]*stub.Stub, error) {
	places := make([]watch.Place, len(names))
	for i, name := range names {
		places[i].Path = name
	}
	files, err := watch.Read(stubsAre, places)
	if err != nil {
		return nil, err
	}
	set, err := stub.Read(nil, nil, sourcesOf(files)...)
	return set.Stubs, err
}

func sourcesOf(files []watch.File) []stub.Source {
	sources := make([]stub.Source, len(files))
	for i, file := range files {
		sources[i] = stub.Source{Name: file.Name, Data: file.Data}
	}
	return sources
}

// named are the files that stubs name.
func (f *stubFiles) named() []watch.Named {
	var all []watch.Named
	for i := range f.of {
		all = append(all, f.of[i].named...)
	}
	return all
}

// swap puts the stubs of files in the place of those before, in all decks at once; or, with
// an error, in none. Decks whose stubs did not change are left alone. It returns the files that
// the stubs name, also with an error. Where ctx ends it stops.
func (f *stubFiles) swap(ctx context.Context, files []watch.File) (match.Change, []watch.Named, error) {
	var all match.Change
	var named []watch.Named
	var errs place.List
	now := f.player.now.Load()
	next := &cast{decks: slices.Clone(now.decks), stubs: now.stubs}
	of := slices.Clone(f.of)
	var carry []func()
	for i := range of {
		own := slices.DeleteFunc(slices.Clone(files), func(file watch.File) bool { return file.Place != i })
		at := &of[i]
		if !at.changed(own) {
			named = append(named, at.named...)
			continue
		}
		err := at.read(ctx, own)
		named = append(named, at.named...)
		if list, ok := errors.AsType[place.List](err); ok {
			errs = append(errs, list...)
			continue
		}
		if err != nil {
			return all, named, err
		}
		d := &next.decks[at.deck]
		before := d.Stubs()
		d.local = localPorts{}
		for _, s := range at.set.Stubs {
			d.local.addStub(s)
		}
		player, change, carried := d.With(at.filed)
		d.Player, carry = player, append(carry, carried)
		next.stubs += at.filed.Len() - before
		all.Added, all.Changed, all.Removed = all.Added+change.Added, all.Changed+change.Changed, all.Removed+change.Removed
	}
	if err := errs.Err(); err != nil {
		return all, named, err
	}
	f.of = of
	f.player.now.Store(next)
	for _, c := range carry {
		c()
	}
	return all, named, nil
}

// changed reports whether the files are others than those in force.
func (s *stubPlace) changed(files []watch.File) bool {
	return s.full == nil || watch.Digest(files) != s.digest || slices.ContainsFunc(s.named, watch.Named.Changed)
}

// read reads the stubs of one cassette and notes them as being in force. With an error it
// notes the files that they name alone.
func (s *stubPlace) read(ctx context.Context, files []watch.File) error {
	full := map[string]bool{}
	for _, file := range files {
		full[file.Name] = len(file.Data) > 0
		if s.full[file.Name] && len(file.Data) == 0 { // as while it is written anew
			return place.List{{File: file.Name, Msg: "empty: it held stubs before", Hint: "[] is a list of none; or remove the file"}}
		}
	}
	if len(files) == 0 && len(s.full) > 0 {
		if _, err := cassette.Open(s.cassette); err != nil { // a start would refuse it as well
			return err
		}
	}
	n := 0
	set, err := stub.Read(s.set, func() error {
		if n++; n%aTurn == 0 {
			runtime.Gosched()
		}
		return ctx.Err()
	}, sourcesOf(files)...)
	s.named = namedBy(set)
	if err != nil {
		return err
	}
	s.full, s.digest = full, watch.Digest(files)
	s.filed = s.filed.Renewed(set.Stubs, set.Kept)
	set.Stubs = s.filed.All()
	s.set = set
	return nil
}

// namedBy are the files that stubs name, each once.
func namedBy(set *stub.Set) []watch.Named {
	var named []watch.Named
	for _, b := range set.Files {
		n := watch.Named{Path: b.Path, Sum: b.Sum}
		switch {
		case b.Size < 0:
			n.Sum = watch.Gone
		case b.Sum == 0:
			n.Size, n.Sum = true, watch.SumOfSize(b.Size)
		}
		named = append(named, n)
	}
	slices.SortFunc(named, func(a, b watch.Named) int { return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Sum, b.Sum)) })
	return slices.Compact(named)
}

// watchStubs returns what keeps the stubs as their files have them; nil where there are none
// and none may come.
func (p *parts) watchStubs() *watch.Watcher {
	if len(p.stubFiles.places) == 0 {
		return nil
	}
	return watch.New(watch.Options{
		What: stubsAre, Places: p.stubFiles.places, Digest: p.stubFiles.digest, Named: p.stubFiles.named(),
		Take: func(ctx context.Context, files []watch.File) ([]watch.Named, error) {
			change, named, err := p.stubFiles.swap(ctx, files)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				p.refusedStubs(err)
			default:
				p.liveStubs(change)
			}
			return named, err
		},
		Refuse: p.refusedStubs,
		Notice: func(text string) { p.log.Warn("stubs", zap.String("notice", text)) },
	})
}

func (p *parts) liveStubs(change match.Change) {
	_, n := p.player.size()
	p.state.stubsError.Store(nil)
	p.books.metrics.StubsReload(true)
	p.log.Info("stubs are live", zap.Int("stubs", n), zap.Int("added", change.Added), zap.Int("changed", change.Changed), zap.Int("removed", change.Removed))
	p.events.Note("stubs_live", "", map[string]any{"stubs": n, "added": change.Added, "changed": change.Changed, "removed": change.Removed})
	giveBack(n)
}

func (p *parts) refusedStubs(err error) {
	text := place.Detail(err)
	p.state.stubsError.Store(&text)
	p.books.metrics.StubsReload(false)
	p.log.Error("stubs refused; the old ones stay in force\n" + text)
	p.events.Note("stubs_refused", "", map[string]any{"error": text})
}

// giveBack lets go of what reading n stubs left behind, if that is much.
func giveBack(n int) {
	if n >= manyStubs {
		debug.FreeOSMemory()
	}
}
