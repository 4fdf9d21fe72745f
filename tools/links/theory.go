package main

import (
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	mss        = 1448 // bytes of payload in a full packet: 1500 without the heads of IP and TCP, and timestamps
	frameBytes = 1514 // what it takes on Ethernet, which is what a rate counts
)

// conditions are those of a direction that theory knows of.
type conditions struct {
	delay        time.Duration
	rate         float64 // bits per second; 0 for none
	events       float64 // the share of packets that a run of losses begins with
	loss         float64 // the share of packets lost
	overhead     float64 // bytes beside each packet's own
	cell, header float64 // bytes
}

// parse reads conditions as the event `link` tells them.
func parse(text string) (c conditions) {
	for part := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "delay":
			c.delay, _ = time.ParseDuration(value)
		case "rate":
			c.rate = bits(value)
		case "loss":
			c.loss = share(value)
			c.events = c.loss
		case "gemodel": // p/r/1-h/1-k; a profile's loses all in the bad state, and nothing in the good one
			v := strings.Split(value, "/")
			if len(v) > 1 {
				toBad, toGood := share(v[0]), share(v[1])
				c.loss = toBad / (toBad + toGood)
				c.events = c.loss * toGood
			}
		case "overhead":
			c.overhead, _ = strconv.ParseFloat(value, 64)
		case "cell":
			c.cell, _ = strconv.ParseFloat(value, 64)
		case "cell_overhead":
			c.header, _ = strconv.ParseFloat(value, 64)
		}
	}
	return c
}

func share(s string) float64 {
	f, _ := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	return f / 100
}

func bits(s string) float64 {
	for unit, factor := range map[string]float64{"gbit": 1e9, "mbit": 1e6, "kbit": 1e3} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			f, _ := strconv.ParseFloat(n, 64)
			return f * factor
		}
	}
	f, _ := strconv.ParseFloat(strings.TrimSuffix(s, "bit"), 64)
	return f
}

// took is how long a frame takes at the rate, in seconds.
func (c *conditions) took(bytes float64) float64 {
	if c.rate == 0 {
		return 0
	}
	bytes += c.overhead
	if c.cell > 0 {
		bytes = math.Ceil(bytes/c.cell) * (c.cell + c.header)
	}
	return bytes * 8 / c.rate
}

// goodput is what one connection brings in the long run, in bits of payload per second,
// and by what it is bounded; "" where theory says nothing.
//
// By loss it is Mathis's MSS/RTT · √(3/2p) for Reno, and for CUBIC its own
// 1.054·(RTT/p)^¾ packets where that is more. Losses in a run are one event to either.
// BBR does not take them for congestion, up to some 20%, and is bounded by the rate alone.
// Source: Mathis et al. 1997; RFC 9438, section 5.
func (c *conditions) goodput(rtt time.Duration, control string) (bitsPerSecond float64, by string) {
	if c.rate > 0 {
		bitsPerSecond, by = mss*8/c.took(frameBytes), "rate"
	}
	known := control == "reno" || control == "cubic"
	if c.events == 0 || rtt == 0 || !known {
		return bitsPerSecond, by
	}
	trip := rtt.Seconds() + c.took(frameBytes)
	window, name := math.Sqrt(1.5/c.events), "Mathis"
	if cubic := 1.054 * math.Pow(trip/c.events, 0.75); control == "cubic" && cubic > window {
		window, name = cubic, "CUBIC"
	}
	if b := window * mss * 8 / trip; by == "" || b < bitsPerSecond {
		return b, name
	}
	return bitsPerSecond, by
}

// bound is what a page takes at least: a round trip to connect, one for each object that
// a connection fetches after another, or for all bytes to come at the rate.
func bound(f *found, rtt time.Duration) time.Duration {
	each := (f.Objects + connections - 1) / connections
	trips := time.Duration(1+each) * rtt
	if f.down.rate == 0 {
		return trips
	}
	bytes := 2*rtt + time.Duration(float64(f.Bytes)/mss*f.down.took(frameBytes)*float64(time.Second))
	return max(trips, bytes)
}
