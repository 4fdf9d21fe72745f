package shaping

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Held is a lease that this process holds.
type Held struct {
	*Applied
	Lease *Lease
	owner io.WriteCloser // the watcher's input: its end means that we are gone
	watch *exec.Cmd
}

// Words between owner and watcher, one a line.
const (
	wordReady   = "ready"   // from the watcher: it has the lease
	wordRelease = "release" // to it: what was done is undone, go
	wordDetach  = "detach"  // to it: go on without the owner
	wordUntil   = "until"   // to it, with a time: restore then
)

// Take applies link to target under a lease. The watcher is there before anything is
// touched. The caller ends with Release or Detach; if it dies without either, the watcher
// restores.
func Take(ctx context.Context, target Target, link Link, hold Hold, classes ...LinkClass) (_ *Held, err error) {
	if target.Socket != nil {
		return nil, fmt.Errorf("shape %s: it is reached by a socket alone, which ends with this process, and its namespace with it: it needs no lease", target.Interface)
	}
	found, err := Look(target, link, classes...)
	if err != nil {
		return nil, err
	}
	l, err := newLease(hold.Dir)
	if err != nil {
		return nil, err
	}
	l.Namespace, l.Egress, l.KeepGSO, l.Found, l.Link = hold.Namespace, target.Egress, target.KeepGSO, found, describeClasses(link, classes)
	l.Classes = leasedClasses(classes)
	if l.NamespaceID, err = namespaceID(target.Namespace); err != nil {
		return nil, err
	}
	if l.BootID, err = bootID(); err != nil {
		return nil, err
	}
	if err := l.write(); err != nil {
		return nil, err
	}
	h := &Held{Lease: l}
	if err := h.startWatcher(target, hold.Watcher); err != nil {
		return nil, errors.Join(err, l.remove())
	}
	defer func() {
		if err != nil { // the watcher restores what there is, and goes
			err = errors.Join(err, h.owner.Close(), h.wait())
		}
	}()
	if h.Applied, err = applyOver(ctx, target, link, found, classes...); err != nil {
		return nil, err
	}
	if hold.For > 0 { // counted from when it is in force
		if err := h.setEnd(time.Now().Add(hold.For)); err != nil {
			return nil, errors.Join(err, h.Restore())
		}
	}
	return h, nil
}

// setEnd writes down when the lease ends, and tells the watcher.
func (h *Held) setEnd(at time.Time) error {
	l, err := readLease(h.Lease.file) // with what the watcher has added
	if err != nil {
		return err
	}
	l.EndsAt = at
	if err := l.write(); err != nil {
		return err
	}
	h.Lease = l
	_, err = io.WriteString(h.owner, wordUntil+" "+at.Format(time.RFC3339Nano)+"\n")
	return err
}

// startWatcher starts the watcher in a session of its own, so that neither the
// terminal's end nor Ctrl-C reaches it, and waits until it has the lease.
func (h *Held) startWatcher(target Target, argv []string) error {
	if len(argv) == 0 {
		return errors.New("watcher: no command given")
	}
	namespace, err := openNamespace(target.Namespace)
	if err != nil {
		return err
	}
	defer func() { _ = namespace.Close() }()
	cmd := exec.Command(argv[0], append(argv[1:len(argv):len(argv)], h.Lease.file)...)
	cmd.ExtraFiles = []*os.File{namespace} // its descriptor 3
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("watcher: %w", err)
	}
	h.owner, h.watch = in, cmd
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != wordReady {
		return errors.Join(fmt.Errorf("watcher: want %q, got %q (%w)", wordReady, line, err), in.Close(), cmd.Wait())
	}
	return nil
}

func openNamespace(file *os.File) (*os.File, error) {
	if file == nil {
		runtime.LockOSThread() // the current namespace is the thread's
		defer runtime.UnlockOSThread()
		return os.Open("/proc/thread-self/ns/net")
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
}

// Release restores and ends the lease.
func (h *Held) Release() error {
	err := h.Restore()
	if err == nil {
		_, err = io.WriteString(h.owner, wordRelease+"\n")
	}
	// Without the word the watcher tries, too.
	return errors.Join(err, h.owner.Close(), h.wait())
}

// Detach leaves the lease to the watcher, which restores when its time is over or
// when it is ended by End. It closes nothing of the link.
func (h *Held) Detach() error {
	_, err := io.WriteString(h.owner, wordDetach+"\n")
	return errors.Join(err, h.owner.Close(), h.watch.Process.Release(), h.drop())
}

func (h *Held) wait() error {
	if err := h.watch.Wait(); err != nil {
		return fmt.Errorf("watcher: %w", err)
	}
	return nil
}

// WatchMain is the body of the watcher: it keeps the lease in file for the owner at
// the other end of in, whose namespace is descriptor 3.
func WatchMain(file string, in io.Reader, out io.Writer) error {
	namespace := os.NewFile(3, "network namespace")
	if namespace == nil {
		return errors.New("watcher: no namespace given")
	}
	l, err := readLease(file)
	if err != nil {
		return err
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGTERM, unix.SIGINT)
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	l.Watcher = os.Getpid()
	if l.WatcherStart, err = startOf(l.Watcher); err != nil {
		return err
	}
	if err := l.write(); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, wordReady); err != nil {
		return l.undo(namespace)
	}
	words := make(chan string)
	go func() { // ends with the process
		in := bufio.NewScanner(in)
		for in.Scan() {
			words <- in.Text()
		}
		close(words)
	}()
	var over <-chan time.Time
	detached := false
	for {
		select {
		case w, more := <-words:
			word, value, _ := strings.Cut(w, " ")
			switch {
			case word == wordRelease:
				return l.remove()
			case word == wordUntil:
				at, err := time.Parse(time.RFC3339Nano, value)
				if err != nil {
					return errors.Join(err, l.undo(namespace))
				}
				over = time.After(time.Until(at))
				continue
			case word == wordDetach:
				detached = true
				continue
			case !more && detached:
				words = nil
				continue
			}
		case <-over:
		case <-ended:
		}
		return l.undo(namespace)
	}
}

// undo restores and forgets the lease.
func (l *Lease) undo(namespace *os.File) error {
	t := Target{Namespace: namespace, Interface: l.Found.Interface, Egress: l.Egress, KeepGSO: l.KeepGSO}
	if err := RestoreFound(t, l.Found); err != nil {
		return err
	}
	return l.remove()
}

// Alive reports whether the lease's watcher runs.
func (l *Lease) Alive() bool {
	start, err := startOf(l.Watcher)
	return l.Watcher > 0 && err == nil && start == l.WatcherStart
}

// End restores what the lease has shaped and forgets it: by its watcher where that
// runs, else here. namespace is the one the lease is about.
func (l *Lease) End(ctx context.Context, namespace *os.File) error {
	if l.Alive() {
		// By descriptor: a number may be another process's by now.
		fd, err := unix.PidfdOpen(l.Watcher, 0)
		if err == nil {
			defer func() { _ = unix.Close(fd) }()
			if l.Alive() && unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0) == nil && exited(ctx, fd) {
				if _, err := os.Stat(l.file); errors.Is(err, os.ErrNotExist) {
					return nil
				}
			}
		}
	}
	return l.undo(namespace)
}

// exited waits for the end of a process, 10 s at most.
func exited(ctx context.Context, fd int) bool {
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until) && ctx.Err() == nil; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 200)
		if n == 1 {
			return true
		}
		if err != nil && err != unix.EINTR {
			return false
		}
	}
	return false
}

// SweepLeases restores what leases of the given namespace have shaped whose watchers
// are gone, and forgets those of earlier runs of the machine. It returns what it restored.
func SweepLeases(dir string, namespace *os.File) (swept []*Lease, err error) {
	all, err := Leases(dir)
	if err != nil {
		return nil, err
	}
	here, err := namespaceID(namespace)
	if err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, l := range all {
		switch {
		case l.BootID != boot:
			errs = append(errs, l.remove())
		case l.NamespaceID == here && !l.Alive():
			// A lease without a watcher may be a moment old: its owner is about to start one.
			if l.Watcher == 0 && time.Since(l.StartedAt) < 10*time.Second {
				continue
			}
			if err := l.undo(namespace); err != nil {
				errs = append(errs, err)
				continue
			}
			swept = append(swept, l)
		}
	}
	return swept, errors.Join(errs...)
}

// In reports whether the lease is about this namespace, nil for the current one.
func (l *Lease) In(namespace *os.File) bool {
	id, err := namespaceID(namespace)
	return err == nil && id == l.NamespaceID
}

// namespaceID is the device and inode of a namespace.
func namespaceID(file *os.File) (string, error) {
	f, err := openNamespace(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino), nil
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// startOf is when a process started, in ticks after boot: with its number it names
// the process and no other. Source: proc(5), field 22 of stat.
func startOf(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold anything.
	rest := string(data[strings.LastIndexByte(string(data), ')')+1:])
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
