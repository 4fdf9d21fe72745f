package shaping

import (
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

// Trace is when a link delivered packets, as mahimahi records it: each opportunity
// takes TraceOpportunity bytes. It begins anew at its end. It is not changed once it is
// made.
type Trace struct {
	Name string   // the file's path
	at   []uint32 // ms, ascending; the last is the trace's length
}

const (
	// TraceOpportunity is the bytes of one opportunity: a full packet with its header.
	// Source: mahimahi, LinkQueue, PACKET_SIZE.
	TraceOpportunity = 1504
	// TraceHeader is what a packet costs there beside its own bytes: the header of a
	// TUN device.
	TraceHeader = 4
	// mostOpportunities bounds a trace: 10 Gbit/s for some 12 s, or 100 Mbit/s for 20 min.
	mostOpportunities = 10_000_000
)

// Len is the number of opportunities in one round.
func (t *Trace) Len() int { return len(t.at) }

// Length is how long one round takes.
func (t *Trace) Length() time.Duration { return t.Opportunity(len(t.at) - 1) }

// Opportunity is the i-th moment in a round.
func (t *Trace) Opportunity(i int) time.Duration { return time.Duration(t.at[i]) * time.Millisecond }

// From is the first opportunity that does not lie before a moment of a round; Len where
// there is none.
func (t *Trace) From(moment time.Duration) int {
	return sort.Search(len(t.at), func(i int) bool { return t.Opportunity(i) >= moment })
}

// Rate is the mean in bits per second.
func (t *Trace) Rate() uint64 {
	return uint64(float64(len(t.at)) * TraceOpportunity * 8 / t.Length().Seconds())
}

// ParseTrace reads a trace of mahimahi's: one opportunity a line, in whole ms from the
// beginning, ascending; the same again where there is more than one. Lines that begin
// with # are skipped. Errors are *place.Error.
func ParseTrace(name string, data []byte) (*Trace, error) {
	f := place.NewFile(name, data)
	t := &Trace{Name: name}
	last := 0
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		last = i + 1
		ms, err := strconv.ParseUint(line, 10, 32)
		switch {
		case err != nil:
			return nil, f.At(i+1, 1, "a trace of mahimahi's has one moment a line, such as 12", "want whole milliseconds, got %q", line)
		case len(t.at) > 0 && uint32(ms) < t.at[len(t.at)-1]:
			return nil, f.At(i+1, 1, "moments ascend, from the trace's beginning", "want %d or more, got %s", t.at[len(t.at)-1], line)
		case len(t.at) == mostOpportunities:
			return nil, f.At(i+1, 1, "", "want at most %d opportunities", mostOpportunities)
		}
		t.at = append(t.at, uint32(ms))
	}
	if len(t.at) == 0 || t.at[len(t.at)-1] == 0 {
		return nil, f.At(max(last, 1), 1, "the last moment is the trace's length", "want a moment after 0")
	}
	return t, nil
}

// DelayTrace is how a delay went over time. It begins anew at its end. It is not changed
// once it is made.
type DelayTrace struct {
	Name   string // the file's path
	at     []time.Duration
	delays []time.Duration
}

// Length is how long one round takes: the last delay holds as long as the one before.
func (t *DelayTrace) Length() time.Duration {
	n := len(t.at)
	return 2*t.at[n-1] - t.at[n-2]
}

// At is the delay at a moment since the trace's beginning.
func (t *DelayTrace) At(moment time.Duration) time.Duration {
	moment %= t.Length()
	return t.delays[sort.Search(len(t.at), func(i int) bool { return t.at[i] > moment })-1]
}

// Most is the longest delay.
func (t *DelayTrace) Most() time.Duration { return slices.Max(t.delays) }

// ParseDelayTrace reads a trace of delays: a moment and the delay from then on, one pair
// a line, as durations with a space or a comma between: 1.5s 40ms. The first moment is
// the beginning. Lines that begin with # are skipped. Errors are *place.Error.
func ParseDelayTrace(name string, data []byte) (*DelayTrace, error) {
	f := place.NewFile(name, data)
	t := &DelayTrace{Name: name}
	var first time.Duration
	last := 0
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		last = i + 1
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' })
		if len(words) != 2 {
			return nil, f.At(i+1, 1, "such as 1.5s 40ms", "want a moment and a delay, got %q", line)
		}
		at, err := parseDuration(words[0], MaxDelay*24)
		if err != nil {
			return nil, f.At(i+1, 1, asProblem(err).hint, "the moment: %s", err)
		}
		delay, err := parseDuration(words[1], MaxDelay)
		if err != nil {
			return nil, f.At(i+1, 1, asProblem(err).hint, "the delay: %s", err)
		}
		if len(t.at) == 0 {
			first = at
		}
		if n := len(t.at); n > 0 && at-first <= t.at[n-1] {
			return nil, f.At(i+1, 1, "moments ascend", "want a moment after the one before, got %s", words[0])
		}
		t.at, t.delays = append(t.at, at-first), append(t.delays, delay)
	}
	if len(t.at) < 2 {
		return nil, f.At(max(last, 1), 1, "such as 0s 20ms, and in the next line 1s 35ms", "want two moments or more")
	}
	return t, nil
}
