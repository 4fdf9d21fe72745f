package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/har"
	"github.com/understudy-proxy/understudy/fixtures/match"
	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/fixtures/redact"
)

// MergeCassettes writes what the cassettes src hold to dst, in order of time.
func MergeCassettes(dst string, src []string) error {
	for _, s := range src {
		if _, err := OpenCassette(s); err != nil {
			return err
		}
	}
	return making(dst, func() error { return cassette.Merge(dst, src...) })
}

// RedactCassette copies src to dst and takes out what config names, besides the defaults.
func RedactCassette(dst, src string, config redact.Config) error {
	if err := checkRedaction(config); err != nil {
		return err
	}
	if _, err := OpenCassette(src); err != nil {
		return err
	}
	return making(dst, func() error { return cassette.Redact(src, dst, config) })
}

// importHAR makes the cassette dst of an HTTP archive, redacted on the way unless
// o turns that off. It returns what of it could not be used.
func importHAR(dst, file string, o ImportOptions) ([]*place.Error, error) {
	config := o.Redact
	if err := checkRedaction(config); err != nil {
		return nil, err
	}
	c, err := OpenCassette(file)
	if err != nil {
		return nil, err
	}
	foreign := 0
	var ended time.Time
	hosts := map[Traffic]uint64{}
	for x, err := range c.Exchanges() {
		if err != nil {
			return nil, BadInput(err)
		}
		hosts[Traffic{Host: x.Request.Host, Protocol: x.Request.Proto}]++
		if end := x.At.Add(x.Times.End); end.After(ended) {
			ended = end
		}
		if len(x.Redacted) > 0 {
			foreign++
		}
	}
	warnings := c.Warnings
	if foreign > 0 {
		warnings = append(slices.Clip(warnings), &place.Error{File: file,
			Msg:  plural(foreign, "exchange") + " had secrets taken out before; an archive does not carry the salt",
			Hint: "requests with the original secrets will not match; replay the cassette that it was exported from"})
	}
	if o.Strict && len(c.Warnings) > 0 {
		return nil, BadInput(place.List(c.Warnings))
	}
	err = making(dst, func() error {
		if err := cassette.Redact(file, dst, config); err != nil {
			return err
		}
		m, err := cassette.ReadManifest(dst)
		if err != nil {
			return err
		}
		m.Tool, m.Ended = "understudy "+Version, ended
		if m.Created.IsZero() { // an empty archive
			m.Created = time.Now().UTC()
		}
		for _, t := range counted(hosts) {
			m.Captured = append(m.Captured, cassette.Traffic(t))
		}
		return cassette.WriteManifest(dst, m)
	})
	return warnings, err
}

// ExportHAR writes a cassette's exchanges as an HTTP archive.
func ExportHAR(w io.Writer, c *cassette.Cassette) error {
	err := har.Export(w, "understudy", Version, c.Exchanges(), c.OpenBody)
	if _, ok := errors.AsType[*place.Error](err); ok {
		return BadInput(err)
	}
	return Setup(err)
}

// ExportHARFile writes a cassette's exchanges to an HTTP archive that is there whole or
// not at all. Like recordings it is its owner's business.
func ExportHARFile(name string, c *cassette.Cassette) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return Usage(fmt.Errorf("-o %s: it is a folder\nhint: name a file, such as %s", name, filepath.Join(name, c.Name+".har")))
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".tmp-"+filepath.Base(name)+"-*") // 0600
	if err != nil {
		return Setup(err)
	}
	err = errors.Join(ExportHAR(f, c), f.Close())
	if err == nil {
		err = Setup(os.Rename(f.Name(), name))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// AcceptVolatileIn finds what changes in the cassette at dir and writes it into the
// manifest, as acceptVolatile does, while nobody records there.
func AcceptVolatileIn(dir string, risky bool) (found, taken []match.Proposal, err error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, nil, Usage(fmt.Errorf("accept: %s has no manifest to write into: want a cassette's directory", dir))
	}
	unlock, err := cassette.Lock(dir)
	if err != nil {
		return nil, nil, Setup(err)
	}
	defer func() { _ = unlock() }()
	c, err := OpenCassette(dir)
	if err != nil {
		return nil, nil, err
	}
	if found, err = Volatile(c); err != nil {
		return nil, nil, BadInput(err)
	}
	taken, err = acceptVolatile(c, found, risky)
	return found, taken, Setup(err)
}

// Repair makes a cassette whole that was cut short. It returns the bytes that
// were let go, and false where it was whole already. Damage that it does not mend
// is bad input.
func Repair(dir string) (gone int64, cut bool, err error) {
	c, err := OpenCassette(dir)
	if err != nil {
		return 0, false, err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return 0, false, Usage(fmt.Errorf("repair %s: want a cassette's directory", dir))
	}
	gone, err = cassette.Repair(dir)
	return gone, c.Manifest.State == cassette.StateRecording || gone > 0, fileError(err)
}

// making runs what fills dst, which must be new or empty, and removes a folder that it
// made where that fails.
func making(dst string, fill func() error) error {
	there, err := os.ReadDir(dst)
	isNew := errors.Is(err, os.ErrNotExist)
	switch {
	case isNew:
	case err != nil:
		return Usage(fmt.Errorf("-o %s: %s", dst, reason(err)))
	case len(there) > 0:
		return Usage(fmt.Errorf("-o %s: it is not empty\nhint: name a new folder", dst))
	}
	err = fill()
	if err != nil && isNew {
		_ = os.RemoveAll(dst)
	}
	return fileError(err)
}

func checkRedaction(config redact.Config) error {
	if _, err := redact.New(config, redact.NewSalt()); err != nil {
		return Usage(err)
	}
	return nil
}

// counted lists traffic with its counts, by host and protocol.
func counted(hosts map[Traffic]uint64) []Traffic {
	out := make([]Traffic, 0, len(hosts))
	for t, n := range hosts {
		t.Count = n
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Traffic) int {
		if c := strings.Compare(a.Host, b.Host); c != 0 {
			return c
		}
		return strings.Compare(a.Protocol, b.Protocol)
	})
	return out
}

func matchIgnore(i cassette.Ignore) match.Ignore { return match.Ignore(i) }
