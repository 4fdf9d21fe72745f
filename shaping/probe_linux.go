package shaping

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/understudy-proxy/understudy/internal/trial"
)

// probeTime is how long a child may take: module loading included, it needs
// some milliseconds.
const probeTime = 10 * time.Second

// Probe tries out what this kernel can do and returns one Capability each, in
// a fixed order. argv is a command whose body is ProbeMain, such as this
// binary with its hidden subcommand.
//
// The trials run in children with a network namespace of their own, which is
// gone when they end: no link or rule of the host is touched. The kernel may
// load a module on the way, as it would at the first use. As root the kernel is
// asked with root's powers, and namespaces with an ordinary user's way to them.
func Probe(ctx context.Context, argv ...string) []Capability {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	user, userErr := probeIn(ctx, true, argv)
	if userErr != nil {
		detail, remedy := trial.Explain(userErr)
		user = allMissing(detail, remedy)
	}
	if os.Geteuid() != 0 {
		return user
	}
	root, err := probeIn(ctx, false, argv)
	if err != nil {
		detail, remedy := trial.Explain(err)
		root = allMissing(detail, remedy)
	}
	root[0] = user[0] // CapNamespaces
	return root
}

// probeIn runs ProbeMain in new namespaces.
func probeIn(ctx context.Context, asUser bool, argv []string) ([]Capability, error) {
	var found []Capability
	if err := trial.Run(ctx, asUser, argv, &found); err != nil {
		return nil, err
	}
	if len(found) != len(capabilities) {
		return nil, fmt.Errorf("probe: want %d answers, got %d", len(capabilities), len(found))
	}
	return found, nil
}

// ProbeMain is the body of Probe's hidden subcommand: it tries things in the
// network namespace that it finds itself in, and writes []Capability as JSON to
// stdout. It refuses a namespace in use, where a link is up (lo suffices): it
// must not experiment on a host.
func ProbeMain(stdout io.Writer) error {
	if err := trial.RefuseUsed(); err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(tryAll())
}
