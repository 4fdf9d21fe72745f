//go:build linux

package sock

// Withheld is what Read gives while what comes in is withheld. Layers such as
// crypto/tls take it for a timeout, and can read on later.
const Withheld = withheld("what comes in is withheld")

type withheld string

func (w withheld) Error() string { return string(w) }
func (withheld) Timeout() bool   { return true }
func (withheld) Temporary() bool { return true }

// Withhold has Read give Withheld at once, or, off, read again: so a layer above can be
// asked for what it has without a wait, and for less than two deadlines cost. It reports
// whether it does, which it does not everywhere. Nobody else may be in a read.
func (c *Conn) Withhold(on bool) bool {
	c.in.mu.Lock()
	c.withheld = on
	c.in.mu.Unlock()
	return true
}
