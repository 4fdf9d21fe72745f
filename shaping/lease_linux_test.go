package shaping

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/umltest"
)

// playLease is the roles of a lease's processes: the watcher, and an owner that holds
// or detaches. The namespace is descriptor 3.
func playLease(role string, args []string) error {
	if role == "watch" {
		return WatchMain(args[0], os.Stdin, os.Stdout)
	}
	target := Target{Namespace: os.NewFile(3, "namespace"), Interface: "us0"}
	span, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	link, classes := Link{Up: Conditions{Loss: 0.5}, Down: Conditions{Loss: 0.5}}, []LinkClass(nil)
	if role == "classes" {
		to, err := ParseDestination("10.9.0.3:5432")
		if err != nil {
			return err
		}
		link, classes = Link{}, []LinkClass{{Name: "database", To: []Destination{to}, Link: link}}
	}
	h, err := Take(context.Background(), target, link,
		Hold{Dir: args[0], Namespace: "test", Watcher: leaseRole("watch"), For: span}, classes...)
	if err != nil {
		return err
	}
	os.Stdout.WriteString("held\n")
	if role == "detach" {
		return h.Detach()
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return h.Release()
}

func leaseRole(role string) []string {
	return []string{"/usr/bin/env", "SHAPING_TEST_ROLE=" + role, os.Args[0]}
}

// owner starts a process that takes a lease of near's end, and waits until it has it.
func (p *pair) owner(role, dir, span string) (*exec.Cmd, io.Closer) {
	p.t.Helper()
	argv := append(leaseRole(role), dir, span)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.ExtraFiles = []*os.File{p.near}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		_ = cmd.Wait()
		p.t.Fatalf("owner: %q, %v: %s", line, err, &stderr)
	}
	return cmd, in
}

// state is what must be as before.
func (p *pair) state() string {
	return p.output(p.near, "tc", "qdisc", "show") + p.output(p.near, "ip", "-d", "-o", "link", "show")
}

// eventually waits until the state is as before and no lease is left.
func (p *pair) eventually(dir, before string) {
	p.t.Helper()
	var now string
	for range 500 {
		now = p.state()
		if left, err := Leases(dir); now == before && err == nil && len(left) == 0 {
			return
		}
		pauseFor(20 * time.Millisecond)
	}
	left, err := Leases(dir)
	p.t.Errorf("10 s later there is\n%swant\n%sand %d leases, %v", now, before, len(left), err)
}

func (p *pair) shaped(t *testing.T) {
	t.Helper()
	if s := p.state(); !strings.Contains(s, "netem 7573:") || !strings.Contains(s, "us-ifb") {
		t.Errorf("want it shaped, it is\n%s", s)
	}
}

func TestGuestLease(t *testing.T) {
	umltest.Guest(t)
	setUp := func(t *testing.T) (p *pair, dir, before string) {
		p = newPair(t)
		p.output(p.near, "tc", "qdisc", "add", "dev", "us0", "root", "handle", "5:", "tbf", "rate", "10mbit", "burst", "20kb", "latency", "50ms")
		return p, t.TempDir(), p.state()
	}
	t.Run("released", func(t *testing.T) {
		p, dir, before := setUp(t)
		cmd, in := p.owner("hold", dir, "1h")
		p.shaped(t)
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		p.eventually(dir, before)
	})
	t.Run("owner killed", func(t *testing.T) {
		p, dir, before := setUp(t)
		cmd, _ := p.owner("hold", dir, "1h")
		p.shaped(t)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		p.eventually(dir, before)
	})
	t.Run("owner of classes killed", func(t *testing.T) {
		p, dir, before := setUp(t)
		cmd, _ := p.owner("classes", dir, "1h")
		if s := p.state(); !strings.Contains(s, "prio 7573:") || !strings.Contains(s, "netem 7574:") || !strings.Contains(s, "us-ifb") {
			t.Errorf("want classes, there is\n%s", s)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		p.eventually(dir, before)
	})
	t.Run("time over", func(t *testing.T) {
		p, dir, before := setUp(t)
		cmd, _ := p.owner("detach", dir, "1s")
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		p.eventually(dir, before)
	})
	t.Run("detached, ended", func(t *testing.T) {
		p, dir, before := setUp(t)
		cmd, _ := p.owner("detach", dir, "1h")
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		p.shaped(t)
		all, err := Leases(dir)
		if err != nil || len(all) != 1 || !all[0].Alive() || !all[0].In(p.near) || all[0].In(p.far) {
			t.Fatalf("leases = %+v, %v, want one that is alive and about near", all, err)
		}
		if swept, err := SweepLeases(dir, p.near); len(swept) != 0 || err != nil {
			t.Errorf("SweepLeases = %v, %v, want a lease with a watcher left alone", swept, err)
		}
		if err := all[0].End(t.Context(), p.near); err != nil {
			t.Error(err)
		}
		if now := p.state(); now != before {
			t.Errorf("after End there is\n%swant\n%s", now, before)
		}
		p.eventually(dir, before)
	})
	t.Run("watcher killed", func(t *testing.T) {
		p, dir, before := setUp(t)
		cmd, _ := p.owner("detach", dir, "1h")
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		all, err := Leases(dir)
		if err != nil || len(all) != 1 {
			t.Fatalf("leases = %+v, %v", all, err)
		}
		if err := syscall.Kill(all[0].Watcher, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for range 500 {
			if !all[0].Alive() {
				break
			}
			pauseFor(20 * time.Millisecond)
		}
		p.shaped(t)
		if swept, err := SweepLeases(dir, p.far); len(swept) != 0 || err != nil {
			t.Errorf("SweepLeases of another namespace = %v, %v, want nothing", swept, err)
		}
		if swept, err := SweepLeases(dir, p.near); len(swept) != 1 || err != nil {
			t.Errorf("SweepLeases = %v, %v, want the one", swept, err)
		}
		p.eventually(dir, before)
	})
	t.Run("nothing written down", func(t *testing.T) {
		p := newPair(t)
		before := p.output(p.near, "tc", "qdisc", "show")
		if _, err := Apply(t.Context(), p.target(), Link{Up: Conditions{Loss: 0.5}, Down: Conditions{Loss: 0.5}}); err != nil {
			t.Fatal(err)
		}
		if swept, err := Sweep(p.target()); !swept || err != nil {
			t.Errorf("Sweep = %v, %v, want it to know its own handles", swept, err)
		}
		if swept, err := Sweep(p.target()); swept || err != nil {
			t.Errorf("Sweep again = %v, %v, want nothing to do", swept, err)
		}
		if now := p.output(p.near, "tc", "qdisc", "show"); now != before {
			t.Errorf("after Sweep there is\n%swant\n%s", now, before)
		}
	})
}

// Where the kernel has no netem, Take says so, and leaves nothing: no lease, no
// watcher, no ifb.
func TestTakeWithoutNetem(t *testing.T) {
	p := newPair(t)
	before, dir := p.state(), t.TempDir()
	_, err := Take(t.Context(), p.target(), Link{Up: Conditions{Loss: 0.5}, Down: Conditions{Loss: 0.5}}, Hold{Dir: dir, Watcher: leaseRole("watch")})
	if err == nil {
		t.Skip("this kernel has netem: TestGuestLease covers it")
	}
	if !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "modprobe sch_netem") {
		t.Errorf("Take = %v, want the remedy", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if now := p.state(); now != before {
		t.Errorf("now there is\n%swant\n%s", now, before)
	}
}

func TestTakeWithoutWatcher(t *testing.T) {
	p := newPair(t)
	before, dir := p.state(), t.TempDir()
	for name, watcher := range map[string][]string{"none": nil, "missing": {"/does/not/exist"}, "silent": probeRole("silent")} {
		if _, err := Take(t.Context(), p.target(), Link{Up: Conditions{Loss: 0.5}}, Hold{Dir: dir, Watcher: watcher}); err == nil {
			t.Errorf("%s: Take has no error", name)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 || p.state() != before {
		t.Errorf("left %v, %v, and %s", left, err, p.state())
	}
}

func TestLeaseFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "links")
	if all, err := Leases(dir); err != nil || all != nil {
		t.Errorf("Leases of nothing = %v, %v", all, err)
	}
	l, err := newLease(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.StartedAt = l.StartedAt.Round(0)
	l.Found = Found{Interface: "eth0", Index: 3, Egress: true, Root: SavedQdisc{"tbf", 5 << 16, []byte{1, 2, 3}}, GSOMaxSegs: 65535, TxQLen: 1000, IFB: "us-ifb3", GRO: true}
	if err := l.write(); err != nil {
		t.Fatal(err)
	}
	all, err := Leases(dir)
	if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0].Found, l.Found) || all[0].ID != l.ID || all[0].Alive() {
		t.Errorf("Leases = %+v, %v, want %+v", all, err, l)
	}
	// One of an earlier run of the machine is forgotten: its links are gone.
	if swept, err := SweepLeases(dir, nil); err != nil || len(swept) != 0 {
		t.Errorf("SweepLeases = %v, %v", swept, err)
	}
	if _, err := os.Stat(l.file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the lease of an earlier run is still there: %v", err)
	}
}

func TestStartOf(t *testing.T) {
	a, err := startOf(os.Getpid())
	b, err2 := startOf(os.Getppid())
	if err != nil || err2 != nil || a == 0 || a < b {
		t.Errorf("startOf = %d, %v; the parent's %d, %v", a, err, b, err2)
	}
	if _, err := startOf(0); err == nil {
		t.Error("process 0 has started")
	}
}
