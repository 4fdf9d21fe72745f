package app

import (
	"iter"
	"slices"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/match"
)

// Volatile proposes what a cassette's replay should ignore: values that changed
// between recordings of the same call. What the manifest ignores already is left out.
func Volatile(c *cassette.Cassette) ([]match.Proposal, error) {
	var failed error
	var exchanges iter.Seq[*fixtures.Exchange] = func(yield func(*fixtures.Exchange) bool) {
		for x, err := range c.Exchanges() {
			if err != nil {
				failed = err
				return
			}
			if !yield(x) {
				return
			}
		}
	}
	found := match.Volatile(exchanges, c.Manifest.Match.Headers)
	if failed != nil {
		return nil, failed
	}
	return slices.DeleteFunc(found, func(p match.Proposal) bool {
		return slices.Contains(c.Manifest.Match.Ignore, cassette.Ignore(p.Ignore))
	}), nil
}

// acceptVolatile writes proposals into a cassette's manifest. Those that may
// select the answer are written only where risky is set. It returns those written.
func acceptVolatile(c *cassette.Cassette, found []match.Proposal, risky bool) ([]match.Proposal, error) {
	var taken []match.Proposal
	m := *c.Manifest
	for _, p := range found {
		if p.MaySelect && !risky {
			continue
		}
		taken = append(taken, p)
		m.Match.Ignore = append(m.Match.Ignore, cassette.Ignore(p.Ignore))
	}
	if len(taken) == 0 {
		return nil, nil
	}
	return taken, cassette.RewriteManifest(c.Path, &m, "match")
}

// DescribeIgnore names a value for people: "query ts of GET shop/items".
func DescribeIgnore(i match.Ignore) string {
	var what string
	switch {
	case i.Query != "":
		what = "query " + i.Query
	case i.Header != "":
		what = "header " + i.Header
	case i.JSON != "":
		what = "body " + i.JSON
	case i.Form != "":
		what = "form field " + i.Form
	case i.Path != "":
		what = "path {" + i.Path + "}"
	}
	if i.On != "" {
		what += " of " + i.On
	}
	return what
}
