package sock

// yield decides whether to let others run before a read. The zero value begins with
// trying it.
type yield struct {
	asked bool  // the next read comes after a yield
	trust int8  // how many more yields may be in vain
	rest  uint8 // how many reads go without one
}

// Measured with 1 connection, where each yield is in vain (one in 64 costs nothing that
// can be seen), and with 16 and 64, where nearly none is.
const (
	maxTrust = 8
	restFor  = 64
)

// worthwhile reports whether to yield before the next read.
func (y *yield) worthwhile() bool {
	if y.rest > 0 {
		y.rest--
		return false
	}
	y.asked = true
	return true
}

// learn is told of each read whether it had to wait.
func (y *yield) learn(waited bool) {
	if !y.asked {
		return
	}
	y.asked = false
	switch {
	case !waited:
		y.trust = min(y.trust+1, maxTrust)
	case y.trust > 0:
		y.trust--
	default:
		y.rest = restFor
	}
}
