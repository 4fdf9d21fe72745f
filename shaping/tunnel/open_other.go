//go:build !linux

package tunnel

import (
	"context"
	"errors"
	"os"

	"github.com/understudy-proxy/understudy/shaping"
)

// Open makes a link of two ends. Here it is errors.ErrUnsupported.
func Open(_, _ *os.File, _ Seeds) (*Link, error) { return nil, errors.ErrUnsupported }

// Run carries packets. Here there is no link.
func (*Link) Run(context.Context) error { return errors.ErrUnsupported }

type pump struct{}

func (*pump) change(shaping.Conditions, uint64) {}

func (*pump) restart() {}

func (*pump) counters() shaping.Counters { return shaping.Counters{} }
