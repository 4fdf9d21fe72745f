package shaping

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// ParseSpec reads conditions as one line, such as
//
//	delay=40ms,jitter=8ms,loss=0.5%,rate=12mbit
//
// Keys are delay, jitter, loss, duplicate, corrupt, reorder, rate and limit, each at
// most once; white space around them is allowed. The error is a *place.Error with
// the column.
func ParseSpec(spec string) (Conditions, error) {
	var c Conditions
	f := place.NewFile("link", []byte(spec))
	at := func(offset int, p *problem, prefix string) error {
		return f.At(1, utf8.RuneCountInString(spec[:offset])+1, p.hint, "%s%s", prefix, p.msg)
	}
	if strings.TrimSpace(spec) == "" {
		return c, at(0, &problem{"want conditions, got nothing", "such as delay=40ms,loss=0.5%"}, "")
	}
	where := map[string]int{} // the offset of each value
	offset := 0
	for part := range strings.SplitSeq(spec, ",") {
		begin := offset + len(part) - len(strings.TrimLeft(part, " \t"))
		name, value, hasValue := strings.Cut(strings.TrimSpace(part), "=")
		valueAt := begin + len(name) + 1 + len(value) - len(strings.TrimLeft(value, " \t"))
		name, value = strings.TrimRight(name, " \t"), strings.TrimLeft(value, " \t")
		offset += len(part) + 1
		switch {
		case !hasValue:
			return Conditions{}, at(begin, &problem{"want KEY=VALUE, got \"" + name + "\"", keyHint()}, "")
		case find(name) == nil:
			return Conditions{}, at(begin, &problem{"unknown condition \"" + name + "\"", keyHint()}, "")
		}
		if _, twice := where[name]; twice {
			return Conditions{}, at(begin, &problem{"is there twice", ""}, name+": ")
		}
		where[name] = valueAt
		if err := find(name).parse(&c, value); err != nil {
			var p *problem
			errors.As(err, &p) // what parse returns
			return Conditions{}, at(valueAt, p, name+": ")
		}
	}
	if name, p := c.conflict(); p != nil {
		return Conditions{}, at(where[name], p, name+": ")
	}
	return c, nil
}

// conflict names a condition that makes no sense beside the others.
func (c Conditions) conflict() (name string, p *problem) {
	switch {
	case c.Jitter > c.Delay:
		return "jitter", &problem{"want at most the delay, " + c.Delay.String() + ", got " + c.Jitter.String(),
			"no packet arrives before it was sent"}
	case c.Reorder > 0 && c.Delay == 0:
		return "reorder", &problem{"want a delay with it", "reordered packets are those that skip the delay"}
	}
	return "", nil
}

func find(name string) *key {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

func keyHint() string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return "conditions: " + strings.Join(names, ", ")
}
