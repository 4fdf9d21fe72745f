package app

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/fixtures/redact"
	"github.com/understudy-proxy/understudy/fixtures/stub"
	"github.com/understudy-proxy/understudy/fixtures/wiremock"
)

// ImportOptions say how an import is to be done.
type ImportOptions struct {
	Redact redact.Config // of exchanges; mappings have none
	// Templates is set for mappings of a WireMock that took every answer for a template.
	Templates bool
	// Strict refuses an import that would leave something out.
	Strict bool
}

// Import is what became of an import.
type Import struct {
	Format   string // "har" or "wiremock"
	Mappings int    // that there were
	Brought  int    // of them
	Stubs    int    // that they became
	// Warnings say what was left out or is not quite the same.
	Warnings []*place.Error
}

// ImportCassette makes the cassette dst of what another tool wrote: an HTTP archive, or
// WireMock's mappings, a folder or a file. What it is, its content tells.
func ImportCassette(dst, src string, o ImportOptions) (*Import, error) {
	info, err := os.Stat(src)
	if err != nil {
		return nil, BadInput(fmt.Errorf("%s: %s", src, reason(err)))
	}
	if !info.IsDir() && strings.HasSuffix(strings.ToLower(src), ".har") {
		warnings, err := importHAR(dst, src, o)
		return &Import{Format: "har", Warnings: warnings}, err
	}
	sources, err := mappingFiles(src, info.IsDir())
	if err != nil {
		return nil, err
	}
	options := wiremock.Options{Templates: o.Templates, Exported: !info.IsDir()}
	root, err := os.OpenRoot(filesDir(src, info.IsDir()))
	switch {
	case err == nil:
		defer func() { _ = root.Close() }()
		options.Files = root.FS() // nothing outside of it is read
	case !errors.Is(err, os.ErrNotExist):
		return nil, Setup(err)
	}
	m, err := wiremock.Import(sources, options)
	if err != nil {
		return nil, BadInput(err)
	}
	if o.Strict && len(m.Left) > 0 {
		return nil, BadInput(place.List(m.Left))
	}
	out := &Import{Format: "wiremock", Mappings: m.Count + len(m.Left), Brought: m.Count, Stubs: m.Stubs, Warnings: append(m.Left, m.Notes...)}
	return out, making(dst, func() error { return writeStubs(dst, m) })
}

// writeStubs fills a cassette with stubs, and reads them as replay will.
func writeStubs(dst string, m *wiremock.Imported) error {
	dir := filepath.Join(dst, cassette.StubsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, b := range m.Bodies {
		name := filepath.Join(dir, filepath.FromSlash(b.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(name, b.Data, 0o600); err != nil {
			return err
		}
	}
	name := filepath.Join(dir, "wiremock.yaml")
	if err := os.WriteFile(name, m.File, 0o600); err != nil {
		return err
	}
	_, err := stub.Read(nil, nil, stub.Source{Name: name, Data: m.File})
	return err
}

// filesDir is WireMock's folder of bodies, as seen from a folder or file of mappings.
func filesDir(src string, isDir bool) string {
	if abs, err := filepath.Abs(src); err == nil {
		src = abs
	}
	if !isDir {
		src = filepath.Dir(src)
	}
	if filepath.Base(src) == "mappings" {
		src = filepath.Dir(src)
	}
	return filepath.Join(src, "__files")
}

// mappingFiles reads the mappings at src.
func mappingFiles(src string, isDir bool) ([]wiremock.Source, error) {
	if !isDir {
		data, err := os.ReadFile(src)
		if err != nil {
			return nil, Setup(err)
		}
		if !wiremock.Recognise(data) {
			return nil, unknownFormat(src, data)
		}
		return []wiremock.Source{{Name: src, Data: data}}, nil
	}
	dir := src
	if info, err := os.Stat(filepath.Join(src, "mappings")); err == nil && info.IsDir() {
		dir = filepath.Join(src, "mappings")
	}
	var sources []wiremock.Source
	if err := readMappings(dir, &sources, 0); err != nil {
		return nil, Setup(err)
	}
	if len(sources) == 0 {
		return nil, Usage(fmt.Errorf("%s: want a folder of WireMock's, with mappings/*.json: there is no .json in %s", src, dir))
	}
	return sources, nil
}

// unknownFormat is the error of a file that is neither an archive nor mappings.
func unknownFormat(src string, data []byte) error {
	if bytes.Contains(data[:min(len(data), 1<<16)], []byte(`"log"`)) {
		return Usage(fmt.Errorf("%s: want a name that ends in .har for an HTTP archive", src))
	}
	if strings.HasSuffix(strings.ToLower(src), ".json") {
		if _, err := wiremock.Import([]wiremock.Source{{Name: src, Data: data}}, wiremock.Options{}); err != nil {
			return BadInput(err)
		}
	}
	return Usage(fmt.Errorf("%s: want an HTTP archive, a file ending in .har, or WireMock's mappings, a folder or a .json file", src))
}

// readMappings gathers the files of a folder in the order in which the file system lists
// them: WireMock does, and asks the last first.
func readMappings(dir string, to *[]wiremock.Source, depth int) error {
	if depth > 20 {
		return fmt.Errorf("read %s: folders are nested too deep", dir)
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1) // os.ReadDir would sort them
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		switch {
		case info.IsDir():
			if err := readMappings(name, to, depth+1); err != nil {
				return err
			}
		case info.Mode()&fs.ModeType == 0 && strings.HasSuffix(strings.ToLower(e.Name()), ".json"):
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			*to = append(*to, wiremock.Source{Name: name, Data: data})
		}
	}
	return nil
}
