//go:build linux

package sock

const canNote = true

func noted(c *Conn) bool { return c.notes.at.Load() > 0 }
