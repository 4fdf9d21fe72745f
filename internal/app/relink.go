package app

import (
	"strings"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/config"
	"github.com/understudy-proxy/understudy/rules"
	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/timeline"
)

// linkInFile reports whether the link is the configuration file's own: then the file is
// watched.
func (p *parts) linkInFile() bool {
	if p.c.File == "" || !p.hasLink {
		return false
	}
	for _, s := range linkSections(&p.c.Link) {
		if !s.IsZero() && s.File.Name == p.c.File {
			return true
		}
	}
	return false
}

func linkSections(l *config.Link) []config.Section {
	return append([]config.Section{l.Both, l.Down, l.Up, l.Steps, l.Classes}, l.To...)
}

// linkSource is what a configuration says of the link, to tell whether that changed.
func linkSource(l *config.Link) string {
	var b strings.Builder
	for _, s := range linkSections(l) {
		if !s.IsZero() {
			b.WriteString(s.Node.String())
		}
		b.WriteByte(0)
	}
	return b.String()
}

// relink reads the link of a configuration file that was saved, beside the rules. The whole
// file has to be right, but of all else that is in it nothing is taken over.
func (p *parts) relink(sources []rules.Source, set *rules.Set) (commit func(), err error) {
	plan, commit, err := p.savedLink(sources)
	if err != nil {
		return nil, err
	}
	return commit, knownClasses(set, plan)
}

// savedLink is what will be in force once commit, which may be nil, is called.
func (p *parts) savedLink(sources []rules.Source) (plan *timeline.Timeline, commit func(), err error) {
	for _, s := range sources {
		if s.Name != p.c.File || !s.Shared {
			continue
		}
		c, err := p.c.Again(s.Data)
		if err != nil {
			return nil, nil, err
		}
		if linkSource(&c.Link) == p.linkSource {
			break
		}
		plan, err := timelineOf(c, p.seed)
		if err != nil {
			return nil, nil, err
		}
		if !p.hasLink {
			return nil, nil, noLinkBefore(&c.Link)
		}
		if plan == nil { // it was taken out
			if plan, err = timeline.New(shaping.Link{}, nil, p.seed); err != nil {
				return nil, nil, err
			}
		}
		if s := p.shapedNow.Load(); s != nil && s.engine == config.EngineNetem && beyondNetem(plan) {
			return nil, nil, wantsAnother(&c.Link)
		}
		return plan, func() {
			p.linkSource = linkSource(&c.Link)
			p.linkPlan.Store(plan)
			select {
			case p.linkIsNew <- struct{}{}:
			default: // it will look in any case
			}
		}, nil
	}
	return p.linkPlan.Load(), nil, nil
}

// noLinkBefore refuses a link in a run that began without one.
func noLinkBefore(l *config.Link) error {
	for _, s := range linkSections(l) {
		if !s.IsZero() {
			return s.File.AtNode(s.Node, "start the run again", "link: this run began without one, and so has none to change")
		}
	}
	return nil
}

// wantsAnother refuses conditions that the engine in force does not have.
func wantsAnother(l *config.Link) error {
	if e := noClassesInNetem(l); e != nil {
		return e
	}
	for _, s := range linkSections(l) {
		if !s.IsZero() {
			return s.File.AtNode(s.Node, "start the run again, with --link-engine tun", "link: this run's is shaped by netem, which plays no traces back")
		}
	}
	return nil
}

// refusedLink tells of a saved link that is wrong.
func (p *parts) refusedLink(err error) {
	text := place.Detail(err)
	p.state.rulesError.Store(&text)
	p.books.metrics.Reload(false)
	p.log.Error("link refused; the old one stays in force, and so do the rules\n" + text)
	p.events.Note("link_refused", "", map[string]any{"error": text})
}

// tellChange tells what happened on the link's timeline.
func (p *parts) tellChange(c change) {
	fields := map[string]any{"phase": string(c.phase), "at_seconds": c.at.Seconds()}
	log := []zap.Field{zap.Duration("at", c.at)}
	what := "the link's timeline is replaced"
	if c.step != "" {
		fields["name"] = c.step
		what = "link: step " + c.step + " " + string(c.phase)
		if c.phase == stepFull {
			what = "link: step " + c.step + " is in full force"
		}
	}
	names := []string{}
	for _, s := range c.state.Steps {
		names = append(names, s.Name)
	}
	fields["steps"] = names
	for _, d := range directions {
		text := c.state.Link.Of(d).String()
		fields[string(d)] = text
		log = append(log, zap.String(string(d), text))
	}
	if len(c.state.Classes) > 0 {
		fields["classes"] = tellClasses(c.state.Classes)
		log = append(log, zap.Any("classes", fields["classes"]))
	}
	p.events.Note("link_changed", "", fields)
	p.log.Info(what, log...)
}
