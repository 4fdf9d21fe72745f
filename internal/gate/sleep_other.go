//go:build !linux

package gate

import "time"

func sleepUntil(at time.Time) { time.Sleep(time.Until(at)) }
