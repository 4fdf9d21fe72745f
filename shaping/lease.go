package shaping

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Lease is a link that is shaped for a time, written down in a file before anything
// is touched: whoever reads it can restore what was found. A watcher, a process of its
// own, does so when the time is over, when its owner ends without a word, or when asked;
// where the watcher was killed, the next sweep does.
type Lease struct {
	ID string `json:"id"`
	// NamespaceID tells a network namespace from all others while it lives.
	NamespaceID string    `json:"namespace_id"`
	Namespace   string    `json:"namespace"` // for people: "host", "pid 123", …
	Egress      Direction `json:"egress,omitempty"`
	KeepGSO     bool      `json:"keep_gso,omitempty"`
	Found       Found     `json:"found"`
	Link        string    `json:"link"` // for people
	Classes     []Leased  `json:"classes,omitempty"`
	StartedAt   time.Time `json:"started_at"`
	EndsAt      time.Time `json:"ends_at"` // zero for no end
	BootID      string    `json:"boot_id"`
	// Watcher is who restores; 0 until it has taken the lease over.
	Watcher      int    `json:"watcher"`
	WatcherStart uint64 `json:"watcher_start"` // ticks after boot, as /proc has it

	file string
}

// Leased is a class of a link under a lease, in order.
type Leased struct {
	Name string   `json:"name"`
	To   []string `json:"to"` // as it was set: with addresses in place of names
}

func leasedClasses(classes []LinkClass) (all []Leased) {
	for _, c := range classes {
		l := Leased{Name: c.Name}
		for _, d := range c.To {
			l.To = append(l.To, d.String())
		}
		all = append(all, l)
	}
	return all
}

// Hold is how a lease is held.
type Hold struct {
	Dir       string   // where it is written down; LeaseDir for the usual
	Namespace string   // the target's, for people
	Watcher   []string // a command whose body is WatchMain; the lease's file is added
	// For is how long it lasts; 0 for as long as it is held.
	For time.Duration
}

func newLease(dir string) (*Lease, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails
	l := &Lease{ID: hex.EncodeToString(id[:]), StartedAt: time.Now()}
	l.file = filepath.Join(dir, l.ID+leaseSuffix)
	return l, nil
}

const leaseSuffix = ".lease.json"

// write replaces the file as a whole, and has it on the disk before it returns: what
// is done after it must find it.
func (l *Lease) write() error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(l.file), ".lease-")
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), l.file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("lease: %w", err)
	}
	return nil
}

func (l *Lease) remove() error {
	if err := os.Remove(l.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("lease: %w", err)
	}
	return nil
}

func readLease(file string) (*Lease, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	l := &Lease{file: file}
	if err := json.Unmarshal(data, l); err != nil {
		return nil, fmt.Errorf("lease %s: %w", file, err)
	}
	return l, nil
}

// Leases are all that are written down in dir. One that vanishes meanwhile is left out.
func Leases(dir string) ([]*Lease, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("leases: %w", err)
	}
	var all []*Lease
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), leaseSuffix) {
			continue
		}
		l, err := readLease(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// LeaseDir is where this user's leases are written down: a directory that does not
// outlive the machine's run, as links do not.
func LeaseDir() string {
	if os.Geteuid() == 0 {
		return "/run/understudy/links"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "understudy", "links")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("understudy-%d", os.Geteuid()), "links")
}
