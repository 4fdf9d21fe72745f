package gateway

import "testing"

// A process that is nobody's to wait for, as one that another has collected, is not
// waited for.
func TestAwaitEndOfNoChild(t *testing.T) {
	awaitEnd(1)
}
