//go:build !linux

package shaping

import (
	"context"
	"io"
	"net/netip"
	"os"
)

// Applied is a link in force on a target. Here there is none.
type Applied struct{}

// Apply puts link on target. Here it is errors.ErrUnsupported.
func Apply(_ context.Context, t Target, _ Link, _ ...LinkClass) (*Applied, error) {
	return nil, unsupported("shape " + t.Interface)
}

// Change puts other conditions in force. Here it is errors.ErrUnsupported.
func (*Applied) Change(context.Context, Link, ...LinkClass) error { return unsupported("change") }

// Counters reads what was counted. Here it is errors.ErrUnsupported.
func (*Applied) Counters() (map[Direction]Counters, error) { return nil, unsupported("counters") }

// Conditions are what is in force. Here nothing is.
func (*Applied) Conditions() map[Direction]Conditions { return nil }

// Findings are what there is to say. Here there is nothing.
func (*Applied) Findings() []Finding { return nil }

// Restore puts back what stood there. Here nothing does.
func (*Applied) Restore() error { return nil }

// Held is a lease that this process holds. Here there is none.
type Held struct {
	*Applied
	Lease *Lease
}

// Take applies link under a lease. Here it is errors.ErrUnsupported.
func Take(_ context.Context, t Target, _ Link, _ Hold, _ ...LinkClass) (*Held, error) {
	return nil, unsupported("shape " + t.Interface)
}

// Release restores. Here nothing does.
func (*Held) Release() error { return nil }

// Detach leaves the lease to the watcher. Here it is errors.ErrUnsupported.
func (*Held) Detach() error { return unsupported("detach") }

// WatchMain is the body of the watcher; here it is errors.ErrUnsupported.
func WatchMain(string, io.Reader, io.Writer) error { return unsupported("watch") }

// Alive reports whether the lease's watcher runs.
func (*Lease) Alive() bool { return false }

// In reports whether the lease is about this namespace.
func (*Lease) In(*os.File) bool { return false }

// End restores. Here it is errors.ErrUnsupported.
func (*Lease) End(context.Context, *os.File) error { return unsupported("restore") }

// SweepLeases restores what dead watchers left. Here there is nothing.
func SweepLeases(string, *os.File) ([]*Lease, error) { return nil, nil }

// ShowClasses reads what the classes of a lease have. Here there are none.
func ShowClasses(Target, *Lease) ([]ClassState, error) { return nil, nil }

// Sweep takes off what is understudy's. Here it is errors.ErrUnsupported.
func Sweep(t Target) (bool, error) { return false, unsupported("sweep " + t.Interface) }

// Carries reports whether traffic to an address passes target. Here it is errors.ErrUnsupported.
func Carries(t Target, _ netip.Addr) (bool, error) {
	return false, unsupported("route of " + t.Interface)
}
