//go:build linux && !race

package sock

const canNote = true

func noted(c *Conn) bool { return c.stamps.last.Load() > 0 }
