package app

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-proxy/understudy/internal/gateway"
	"github.com/understudy-proxy/understudy/internal/redirect"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/proxy/ca"
	"github.com/understudy-proxy/understudy/shaping"
)

// What Doctor looks at besides the kernel's capabilities (package shaping).
const (
	CapCA       = "ca"         // the user's certificate authority
	CapTrusted  = "ca-trusted" // this system trusts it
	CapLoopback = "loopback"   // a listener that can be reached
	CapLink     = "link"       // and its link shaped, by which engine
	CapCapture  = "capture"    // a command in namespaces of its own; each step is capture-STEP
	CapProxied  = "variables"  // what makes a command use the proxy, where that cannot be
	CapRedirect = "redirect"   // connections that rules lead to a transparent door
	CapKernel   = "kernel"
	CapFiles    = "open-files"
	CapClock    = "clock"
)

const (
	// enoughFiles keeps some thousands of clients, each with its upstream.
	enoughFiles = 8192
	// coarse is a timers' lateness that spoils delays of some milliseconds.
	coarse = 2 * time.Millisecond
	// expiresSoon is when a certificate authority ought to be renewed.
	expiresSoon = 30 * 24 * time.Hour
)

// Doctor tries out what this machine can do. It changes nothing. probe is a
// command whose body is shaping.ProbeMain.
func Doctor(ctx context.Context, probe ...string) []shaping.Capability {
	found := authorityChecks()
	found = append(found, loopback())
	found = append(found, captureSteps(gateway.Probe(ctx))...)
	found = append(found, variables())
	found = append(found, shaping.Probe(ctx, probe...)...)
	found = append(found, linkEngine(ctx, found), redirected(ctx, probe))
	return append(found, kernel(), openFiles(), clock(ctx))
}

func yes(name, format string, args ...any) shaping.Capability {
	return shaping.Capability{Name: name, OK: true, Detail: fmt.Sprintf(format, args...)}
}

func no(name, remedy, format string, args ...any) shaping.Capability {
	return shaping.Capability{Name: name, Detail: fmt.Sprintf(format, args...), Remedy: remedy}
}

// authorityChecks looks at the user's certificate authority without making one.
func authorityChecks() []shaping.Capability {
	dir, err := ca.DefaultDir()
	if err != nil {
		return []shaping.Capability{no(CapCA, "set HOME", "%s", err), no(CapTrusted, "", "there is none")}
	}
	if there, err := os.ReadDir(dir); errors.Is(err, os.ErrNotExist) || err == nil && len(there) == 0 {
		return []shaping.Capability{
			no(CapCA, "understudy ca path", "none in %s yet; the first use makes one", dir),
			no(CapTrusted, "sudo understudy ca trust --dir "+dir, "there is none yet"),
		}
	}
	a, err := ca.Load(dir)
	if err != nil {
		return []shaping.Capability{no(CapCA, "", "%s", err), no(CapTrusted, "", "it cannot be read")}
	}
	until := a.Certificate().NotAfter
	own := yes(CapCA, "%s, valid until %s", a.CertPath(), until.Format(time.DateOnly))
	if time.Until(until) < expiresSoon {
		own.OK, own.Remedy = false, "move "+dir+" away; the next use makes a new one"
	}
	return []shaping.Capability{own, trusted(a, dir)}
}

// trusted reports whether the system's roots have the authority.
func trusted(a *ca.Authority, dir string) shaping.Capability {
	remedy := "sudo understudy ca trust --dir " + dir
	plan, err := a.TrustPlan()
	if err != nil {
		return no(CapTrusted, "", "%s", err)
	}
	data, err := os.ReadFile(plan.File)
	if errors.Is(err, os.ErrNotExist) {
		return no(CapTrusted, remedy, "only commands behind -- are told to trust it")
	} else if err != nil {
		return no(CapTrusted, remedy, "%s", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return no(CapTrusted, remedy, "%s holds no certificate", plan.File)
	}
	anchor, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !anchor.Equal(a.Certificate()) {
		return no(CapTrusted, remedy, "%s holds another certificate", plan.File)
	}
	return yes(CapTrusted, "by %s", plan.File)
}

// loopback listens and connects to itself.
func loopback() shaping.Capability {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return no(CapLoopback, "ip link set lo up", "%s", err)
	}
	defer func() { _ = ln.Close() }()
	conn, err := net.DialTimeout("tcp", ln.Addr().String(), time.Second)
	if err != nil {
		return no(CapLoopback, "a firewall may be in the way: allow 127.0.0.1", "%s", err)
	}
	_ = conn.Close()
	return yes(CapLoopback, "listens and answers on 127.0.0.1")
}

// stepMeans says what a step has shown that went well.
var stepMeans = map[gateway.Step]string{
	gateway.StepStart:   "this program runs itself in new namespaces",
	gateway.StepUser:    "an ordinary user may have a user namespace",
	gateway.StepPowers:  "and has its powers",
	gateway.StepMount:   "resolv.conf and trust stores can be covered for the command alone",
	gateway.StepNetwork: "a second network namespace",
	gateway.StepLink:    "a pair of links with addresses and routes",
	gateway.StepCatch:   "connections to any address are taken (TPROXY)",
	gateway.StepLocal:   "those to the loopback, too",
	gateway.StepAsk:     "connections that cannot be made are refused and not first accepted (NFQUEUE)",
	gateway.StepSockets: "transparent listeners, DNS and raw sockets open",
	gateway.StepHand:    "they reach this process",
	gateway.StepName:    "a name resolves",
	gateway.StepConnect: "a connection arrives with its name and port",
}

// captureSteps tells whether a command can be captured, and each step of it.
func captureSteps(findings []gateway.Finding) []shaping.Capability {
	whole := yes(CapCapture, "a command behind -- runs in namespaces of its own, whatever it knows of proxies")
	steps := make([]shaping.Capability, 0, len(findings))
	for _, f := range findings {
		name := CapCapture + "-" + strings.ReplaceAll(strings.TrimPrefix(string(f.Step), "its "), " ", "-")
		steps = append(steps, shaping.Capability{Name: name, OK: f.OK, Detail: cmp.Or(f.Detail, stepMeans[f.Step]), Remedy: f.Remedy})
		if f.Needed && !f.OK && whole.OK {
			whole = no(CapCapture, f.Remedy, "%s: %s; a command behind -- gets proxy variables instead", f.Step, f.Detail)
		}
	}
	return append([]shaping.Capability{whole}, steps...)
}

// variables makes what a command is given that cannot run in a namespace, with an
// authority that is thrown away.
func variables() shaping.Capability {
	dir, err := os.MkdirTemp("", "understudy-doctor-")
	if err != nil {
		return no(CapProxied, "set TMPDIR to a folder that can be written", "%s", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	a, err := ca.Load(filepath.Join(dir, "ca"))
	if err != nil {
		return no(CapProxied, "", "%s", err)
	}
	env, err := environ(dir, "127.0.0.1:1", a, os.Getenv)
	if err != nil {
		return no(CapProxied, "", "%s", err)
	}
	return yes(CapProxied, "%d variables for a command behind --", len(env))
}

// redirected tries rules and a door as --transparent --install-rules has them.
func redirected(ctx context.Context, probe []string) shaping.Capability {
	t := redirect.Probe(ctx, append(slices.Clone(probe), "redirect")...)
	if !t.OK {
		return no(CapRedirect, t.Remedy, "%s", t.Detail)
	}
	return yes(CapRedirect, "--transparent --install-rules: connections to others come to a door, with where they were going (nftables, REDIRECT)")
}

// ProbeRedirect is the body of doctor's hidden subcommand for the same.
func ProbeRedirect(w io.Writer) error { return redirect.ProbeMain(w) }

// errTried ends a trial.
var errTried = errors.New("tried")

// linkEngine tells what would shape the link of a captured command, by what was found.
func linkEngine(ctx context.Context, found []shaping.Capability) shaping.Capability {
	has := func(name string) bool {
		return slices.ContainsFunc(found, func(c shaping.Capability) bool { return c.Name == name && c.OK })
	}
	switch {
	case !has(CapCapture):
		return no(CapLink, "", "a command that cannot be captured has no link of its own: see %s", CapCapture)
	case has(shaping.CapNetem):
		return yes(CapLink, "netem, the kernel's, shapes what --link asks of a captured command")
	}
	how := ""
	_, err := gateway.Start(ctx, gateway.Options{Argv: []string{"/proc/self/exe"}, Carry: true, Ready: func(g *gateway.Gateway) error {
		how = carriedBy(g.Up().Device)
		return errTried
	}})
	if !errors.Is(err, errTried) {
		remedy := ""
		if step, is := errors.AsType[*gateway.StepError](err); is {
			remedy, err = step.Remedy, step.Err
		}
		return no(CapLink, remedy, "%s", err)
	}
	return yes(CapLink, "tun: this kernel has no netem, understudy carries the packets of a captured command itself, %s", how)
}

func kernel() shaping.Capability {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return no(CapKernel, "", "%s", err)
	}
	return yes(CapKernel, "%s %s %s", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]))
}

func openFiles() shaping.Capability {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return no(CapFiles, "", "%s", err)
	}
	// Go raises the soft limit to the hard one at start.
	if l.Cur < enoughFiles {
		return no(CapFiles, "ulimit -Hn 65536 (as root), or LimitNOFILE=65536 in the systemd unit", "%d; each proxied client takes two", l.Cur)
	}
	return yes(CapFiles, "%d", l.Cur)
}

// clock looks at how fine the clock is, and how late short waits end.
func clock(ctx context.Context) shaping.Capability {
	step := time.Hour
	for range 1000 {
		a := time.Now()
		b := time.Now()
		for b.Equal(a) {
			b = time.Now()
		}
		step = min(step, b.Sub(a))
	}
	var late []time.Duration
	for range 20 {
		at := time.Now().Add(2 * time.Millisecond)
		if err := timing.SleepUntil(ctx, nil, at); err != nil {
			return no(CapClock, "", "%s", err)
		}
		late = append(late, time.Since(at))
	}
	slices.Sort(late)
	median := timing.Quantile(late, 0.5)
	if step > time.Millisecond || median > coarse {
		return no(CapClock, "run on a machine with less load; delays are late by so much", "steps of %s; waits end %s late at the median", Seconds(step), Seconds(median))
	}
	return yes(CapClock, "steps of %s; waits end %s late at the median", Seconds(step), Seconds(median))
}
