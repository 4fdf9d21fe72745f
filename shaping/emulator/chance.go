package emulator

import (
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/shaping"
)

// kind is what is drawn for. Each has numbers of its own, and draws them by a packet's
// number: to ask for one more thing does not change what else befalls which packet.
type kind int

const (
	loss kind = iota
	turn      // of a loss with a memory, to another state
	duplicate
	corrupt
	bit
	reorder
	related // whether a correlated decision is the one before again
	kinds
)

var kindNames = [kinds]string{"loss", "turn", "duplicate", "corrupt", "bit", "reorder", "related"}

// chances draws.
type chances struct {
	seeds [kinds]uint64
	last  [kinds]bool // the decision before, for correlations
	state uint8       // of a loss with a memory, as netem numbers them; 0 before the first packet
}

func (c *chances) seed(seed uint64) {
	for k := range c.seeds {
		c.seeds[k] = timing.MixString(seed, kindNames[k])
	}
}

// forget begins a loss with a memory anew, in its good state.
func (c *chances) forget() { c.state = 0 }

func (c *chances) draw(k kind, n, copied uint64) uint64 {
	return timing.Mix(c.seeds[k], n, copied)
}

func (c *chances) unit(k kind, n, copied uint64) float64 { return timing.Unit(c.draw(k, n, copied)) }

// hits decides with a chance of p. Correlated by r it is, with that chance, the
// decision before again: p stays the share in the long run, and r is the correlation of
// two in a row.
func (c *chances) hits(k kind, n, copied uint64, p, r float64) bool {
	if p == 0 {
		return false
	}
	if r > 0 && n > 0 && timing.Unit(timing.Mix(c.seeds[related], uint64(k), n, copied)) < r {
		return c.last[k]
	}
	c.last[k] = c.unit(k, n, copied) < p
	return c.last[k]
}

// loses decides whether a packet is lost, by the one model that is asked for.
func (c *chances) loses(now *shaping.Conditions, n, copied uint64) bool {
	switch {
	case now.GilbertElliott != shaping.GilbertElliott{}:
		return c.gilbertElliott(&now.GilbertElliott, n, copied)
	case now.FourState != shaping.FourState{}:
		return c.fourState(&now.FourState, n, copied)
	}
	return c.hits(loss, n, copied, now.Loss, now.LossCorrelation)
}

// gilbertElliott loses by the state before the turn, as netem's loss_gilb_ell does.
func (c *chances) gilbertElliott(g *shaping.GilbertElliott, n, copied uint64) bool {
	const good, bad = 0, 1
	turn, lose := c.unit(turn, n, copied), c.unit(loss, n, copied)
	if c.state == bad {
		if turn < g.ToGood {
			c.state = good
		}
		return lose < g.LossInBad
	}
	if turn < g.ToBad {
		c.state = bad
	}
	return lose < g.LossInGood
}

// fourState is netem's loss_4state: a packet is lost when a state of loss is entered.
func (c *chances) fourState(s *shaping.FourState, n, copied uint64) bool {
	const receivedInGap, receivedInBurst, lostInBurst, lostAlone = 0, 1, 2, 3
	u := c.unit(turn, n, copied)
	switch c.state {
	case receivedInGap:
		switch {
		case u < s.P14:
			c.state = lostAlone
			return true
		case u < s.P14+s.P13:
			c.state = lostInBurst
			return true
		}
	case receivedInBurst:
		if u < s.P23 {
			c.state = lostInBurst
			return true
		}
	case lostInBurst:
		switch {
		case u < s.P32:
			c.state = receivedInBurst
		case u < s.P32+s.P31:
			c.state = receivedInGap
		default:
			return true
		}
	case lostAlone:
		c.state = receivedInGap
	}
	return false
}
