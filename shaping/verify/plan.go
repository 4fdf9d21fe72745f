package verify

import (
	"math"
	"time"

	"github.com/understudy-proxy/understudy/shaping"
)

// Plan is what to send in one direction.
type Plan struct {
	Probes int           // how many small packets
	Every  time.Duration // between two of them
	// Train is how many large packets follow, TrainSize bytes each with all headers but
	// the Ethernet one, TrainEvery between two, which is faster than the rate; 0 for none.
	Train      int
	TrainSize  int
	TrainEvery time.Duration
	// Wait is how long after the last packet one may still come. What comes later is lost.
	Wait time.Duration
}

// ProbeSize is the bytes of a small packet, with all headers but the Ethernet one.
const ProbeSize = 64

const (
	etherHeader = 14
	// fullPacket is the largest of a train, bytes: the link's MTU.
	fullPacket = 1500
	// leastPacket is the smallest of a train.
	leastPacket = 500

	everyAtLeast = time.Millisecond
	shortest     = 2 * time.Second
	// longest bounds the small packets' time where a jitter's draws lie far apart.
	longest = 6 * time.Second
	// probesShare is the most of a rate that small packets take: they are not to queue.
	probesShare = 0.2
	// leastProbes is how many there are at least, time permitting.
	leastProbes = 100
	// draws is how many of a jitter's draws are to be seen.
	draws = 40

	trainTime = 600 * time.Millisecond
	// trainMost bounds the train's time at low rates.
	trainMost = 3 * time.Second
	// trainLeast is how many packets a train has at least, time permitting.
	trainLeast = 40
	// trainPackets is how many it has at most, at high rates.
	trainPackets = 10_000
	// pushed is how much faster than the rate a train is sent.
	pushed = 1.25
	// mostLost is the most that may be lost where a rate is to be measured.
	mostLost = 0.5
	// grace is how much longer than the longest delay a packet is waited for.
	grace = 250 * time.Millisecond
)

// PlanFor is what it takes to judge conditions as shaping.Conditions.Resolve returns them.
func PlanFor(c shaping.Conditions) Plan {
	p := Plan{Every: everyAtLeast}
	over := min(max(shortest, draws*drawsApart(c)), longest)
	if c.Rate > 0 {
		p.Every = max(p.Every, time.Duration(float64(took(c, ProbeSize+etherHeader))/probesShare))
	}
	most := mostDelay(c)
	if c.Limit > 0 { // packets of any size count: no more than a half of them is to be held
		p.Every = max(p.Every, 2*most/time.Duration(c.Limit))
	}
	over = max(over, min(leastProbes*p.Every, longest))
	p.Probes = max(int(over/p.Every), 2)
	p.Wait = most + grace
	lost, _ := lossOf(c)
	if c.Rate == 0 || lost > mostLost {
		return p
	}
	p.TrainSize = fullPacket
	if at := took(c, fullPacket+etherHeader); at*trainLeast > trainMost {
		p.TrainSize = max(int(fullPacket*trainMost/(trainLeast*at)), leastPacket)
	}
	one := took(c, p.TrainSize+etherHeader)
	p.Train = min(max(int(min(max(trainTime, trainLeast*one), trainMost)/max(one, 1)), 3), trainPackets)
	p.TrainEvery = time.Duration(float64(one) / pushed * (1 - lost))
	p.Wait += time.Duration(p.Train) * (one - p.TrainEvery) // what waits for its turn
	return p
}

// took is how long a frame of so many bytes takes at the rate. Source: netem's
// packet_time_ns.
func took(c shaping.Conditions, frame int) time.Duration {
	if c.Rate == 0 {
		return 0
	}
	return time.Duration(costs(c, frame) * 8 / float64(c.Rate) * float64(time.Second))
}

// costs is what a frame costs at the rate, bytes.
func costs(c shaping.Conditions, frame int) float64 {
	bytes := math.Max(float64(frame)+float64(c.PacketOverhead), 0)
	if cell := float64(c.CellSize); cell > 0 {
		bytes = math.Ceil(bytes/cell) * math.Max(cell+float64(c.CellOverhead), 0)
	}
	return bytes
}
