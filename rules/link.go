package rules

import (
	"errors"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// link reads the class of the link that a connection is put into.
func (r *reader) link(u *rule, e entry) {
	s, ok := r.scalar("link", "the name of a class", e.keyNode, e.value)
	if !ok {
		return
	}
	u.linkAt = s.Start
	r.read(e, "link", "the name of a class", "the configuration declares classes under link.classes, and a rule names one", func(text string) error {
		switch {
		case strings.TrimSpace(text) == "":
			return errors.New("want the name of a class, got an empty one")
		case strings.Contains(text, "="):
			return errors.New("want the name of a class, got conditions")
		}
		u.effects.link = text
		return nil
	})
}

// ClassUse is a class of the link that a rule puts connections into. Which classes there
// are is not for this package to know.
type ClassUse struct {
	Class string
	// Error is a finding at the class's name in the rule.
	Error func(hint, format string, args ...any) *place.Error
}

// ClassUses are all of them, in the order of the rules.
func (s *Set) ClassUses() []ClassUse {
	var all []ClassUse
	for _, u := range s.rules {
		if u.effects.link != "" {
			all = append(all, ClassUse{u.effects.link, u.linkAt})
		}
	}
	return all
}
