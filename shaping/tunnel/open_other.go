//go:build !linux

package tunnel

import (
	"context"
	"errors"
	"os"

	"github.com/understudy-proxy/understudy/shaping"
)

// Open makes a link of two ends. Here it is errors.ErrUnsupported.
func Open(_, _ *os.File, _ Seeds, _ Names) (*Link, error) { return nil, errors.ErrUnsupported }

// Run carries packets. Here there is no link.
func (*Link) Run(context.Context) error { return errors.ErrUnsupported }

type pump struct{}

func (*pump) change(shaping.Conditions, []shaping.LinkClass, shaping.Direction, Seeds) {}

func (*pump) restart() {}

func (*pump) counters(string) shaping.Counters { return shaping.Counters{} }

func (*pump) move(flow, string) bool { return false }

func (*pump) end(flow) {}

func (*pump) probe(string) {}
