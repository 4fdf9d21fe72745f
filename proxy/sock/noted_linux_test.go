//go:build linux

package sock

const canNote = true

func noted(c *Conn) bool { return c.stamps.last.Load() > 0 }
