package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/shaping"
)

// Where names the network namespace of a link; the zero value is this process's own.
// At most one field is set.
type Where struct {
	PID       int    // a process's
	Container string // a container's, as docker, podman or nerdctl know it
	NetNS     string // one with a name, as ip netns has it, or a path
}

// Open opens the namespace, nil for one's own, and names it for people.
func (w Where) Open(ctx context.Context) (file *os.File, name string, err error) {
	set := 0
	for _, is := range []bool{w.PID != 0, w.Container != "", w.NetNS != ""} {
		if is {
			set++
		}
	}
	path := ""
	switch {
	case set > 1:
		return nil, "", Usage(errors.New("want one of --pid, --container and --netns"))
	case w.PID != 0:
		path, name = fmt.Sprintf("/proc/%d/ns/net", w.PID), fmt.Sprintf("process %d", w.PID)
	case w.Container != "":
		pid, err := containerPID(ctx, w.Container)
		if err != nil {
			return nil, "", Setup(err)
		}
		path, name = fmt.Sprintf("/proc/%d/ns/net", pid), "container "+w.Container
	case w.NetNS != "":
		path, name = w.NetNS, "namespace "+w.NetNS
		if !strings.Contains(path, "/") {
			path = filepath.Join("/run/netns", path)
		}
	default:
		return nil, "this host", nil
	}
	file, err = os.Open(path)
	if err != nil {
		hint := ""
		if errors.Is(err, os.ErrPermission) {
			hint = "\nhint: it belongs to another user: run as root"
		}
		return nil, "", Setup(fmt.Errorf("network namespace of %s: %w%s", name, err, hint))
	}
	return file, name, nil
}

// engines know containers by name; the first that knows it answers.
var engines = []string{"docker", "podman", "nerdctl"}

func containerPID(ctx context.Context, name string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var tried []string
	for _, engine := range engines {
		if _, err := exec.LookPath(engine); err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, engine, "inspect", "--format", "{{.State.Pid}}", "--", name).Output()
		pid, notNumber := strconv.Atoi(strings.TrimSpace(string(out)))
		switch {
		case err != nil || notNumber != nil:
			detail := ""
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				detail = ": " + strings.TrimSpace(string(exit.Stderr))
			}
			tried = append(tried, engine+" does not know it"+detail)
		case pid == 0:
			return 0, fmt.Errorf("container %s: it does not run", name)
		default:
			return pid, nil
		}
	}
	if len(tried) == 0 {
		return 0, fmt.Errorf("container %s: none of %s is here\nhint: give one of its processes: --pid PID", name, strings.Join(engines, ", "))
	}
	return 0, fmt.Errorf("container %s: %s", name, strings.Join(tried, "; "))
}

// LinkFor reads specs for both directions: both, and down and up, which win. "" is
// none. to are classes in their short form; with any of them the link itself need not
// have conditions. files hold profiles of the user's own.
func LinkFor(files []string, both, down, up string, to []string) (l shaping.Link, classes []shaping.LinkClass, err error) {
	b, err := shaping.NewBook()
	if err != nil {
		return l, nil, err
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return l, nil, BadInput(err)
		}
		if err := b.Add(name, data); err != nil {
			return l, nil, err
		}
	}
	for _, s := range []struct {
		name, spec string
		set        func(shaping.Link)
	}{
		{"SPEC", both, func(m shaping.Link) { l = m }},
		{"--down", down, func(m shaping.Link) { l.Down = m.Down }},
		{"--up", up, func(m shaping.Link) { l.Up = m.Up }},
	} {
		if s.spec == "" {
			continue
		}
		m, err := b.Parse(s.spec)
		if err != nil {
			return l, nil, Usage(fmt.Errorf("%s: %s", s.name, place.Detail(err)))
		}
		s.set(m)
	}
	nothing := l.IsZero()
	for _, text := range to {
		c, err := b.ParseTo(text)
		if err != nil {
			return l, nil, badTo("--to "+text, err)
		}
		classes, nothing = append(classes, c), nothing && c.Link.IsZero()
	}
	if err := shaping.CheckClasses(classes); err != nil {
		return l, nil, badTo("--to", err)
	}
	if nothing {
		return l, nil, Usage(errors.New("there are no conditions\nhint: a SPEC such as lte, or delay=40ms,loss=0.5%; or --down SPEC, --up SPEC, --to DEST=SPEC"))
	}
	return l, classes, nil
}

// KernelClasses makes of classes what the kernel can have, by this process's resolver.
func KernelClasses(ctx context.Context, classes []shaping.LinkClass) ([]shaping.LinkClass, []shaping.Finding, error) {
	fixed, notes, err := shaping.KernelClasses(ctx, classes, func(ctx context.Context, host string) ([]netip.Addr, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	})
	if err != nil {
		return nil, nil, badTo("--to", err)
	}
	return fixed, notes, nil
}

// badTo is what is wrong with a class, or the first of several, that the flag at has.
func badTo(at string, err error) error {
	var all place.List
	if errors.As(err, &all) && len(all) > 0 {
		err = all[0]
	}
	e, ok := errors.AsType[*place.Error](err)
	switch {
	case !ok:
		return Usage(fmt.Errorf("%s: %w", at, err))
	case e.Hint == "":
		return Usage(fmt.Errorf("%s: %s", at, e.Msg))
	}
	return Usage(fmt.Errorf("%s: %s\nhint: %s", at, e.Msg, e.Hint))
}

// FindLease is the lease on an interface, nil where there is none.
func FindLease(namespace *os.File, name string) (*shaping.Lease, error) {
	all, err := shaping.Leases(shaping.LeaseDir())
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if l.Found.Interface == name && l.In(namespace) {
			return l, nil
		}
	}
	return nil, nil
}

// EndEarlier ends the lease that an interface has, so that it can be shaped anew. It
// reports whether there was one.
func EndEarlier(ctx context.Context, t shaping.Target) (bool, error) {
	l, err := FindLease(t.Namespace, t.Interface)
	if l == nil || err != nil {
		return false, err
	}
	return true, l.End(ctx, t.Namespace)
}

// ClearLink restores an interface: by its lease, or, where none is written down, by
// what is understudy's own. It says what it did; "" where there was nothing to do.
func ClearLink(ctx context.Context, t shaping.Target) (did string, err error) {
	l, err := FindLease(t.Namespace, t.Interface)
	if err != nil {
		return "", err
	}
	if l != nil {
		return "restored what was there before", l.End(ctx, t.Namespace)
	}
	swept, err := shaping.Sweep(t)
	if !swept || err != nil {
		return "", err
	}
	return "took off what understudy had left; what was there before is not known, and the kernel's default is there now", nil
}
