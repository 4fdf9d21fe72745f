package proxy

import (
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// Exchange is an exchange while it is under way. The embedded record grows as
// the exchange proceeds; its bodies hold sizes and frames, never bytes (those
// go to the Tape), unless a planner or responder asked for the request's body.
type Exchange struct {
	fixtures.Exchange
	Wire *wire.Conn
	// Plan is what the rules decided so far.
	Plan fixtures.Plan
	// Source says who answered: "upstream", "rule" (Fired names which), an
	// Answer's Source, "" if nobody did. It is "upstream" also where that was
	// asked and did not answer, or was not heard.
	Source string
	// Stub is set where an Answer was a stub's. Source tells as much, but in a line of
	// memory that is seldom in the caches where there are many.
	Stub bool
	// Asked is the Responder's, who may keep there what its NeedsBody looked at: its
	// answer is to be found in the same.
	Asked any
	// Room is where the Responder may make its answer.
	Room fixtures.Room
	// Miss is set where replay had no answer.
	Miss *fixtures.MissError
	// Recording is false where the exchange is not being recorded.
	Recording bool
	// Rate is how many requests began in the second before this one.
	Rate float64
	// Elapsed is the run's clock at the request's first byte.
	Elapsed time.Duration
	// Total is the whole exchange's length. It is the sum of Upstream, which was spent
	// waiting for the upstream, Times.Injected, Times.Own, and ClientTime, which was
	// spent waiting for the client to send its request or to take its answer. All of it,
	// and what follows, is known when the exchange is done.
	Total, Upstream, ClientTime time.Duration
	// Paced is how much of Times.Injected was not a rule's: the pace of a recording,
	// or a stub's own delay.
	Paced time.Duration
	// Own is Times.Own by stage.
	Own fixtures.OwnTimes
	// Delayed is set where the answer's beginning was to be delayed: by a rule, a stub
	// or a recording's pace. DelayError is by how much later, or earlier, than
	// asked it could begin for that; what writing it took is not in it. Delays
	// within an answer are not in either.
	Delayed    bool
	DelayError time.Duration
}

// Planner decides what happens to an exchange. Its methods are called from
// many goroutines.
type Planner interface {
	// Door decides on a connection before a request is read: at accept (host is
	// "" unless the door knows it) and again at CONNECT or TLS server name.
	// rule names the rule that refused.
	Door(c *wire.Conn, host string) (refuse fixtures.Refusal, rule string)
	// NeedsBody reports whether a rule that may apply to x reads the request's body.
	NeedsBody(x *Exchange) bool
	// Plan decides at the request's head (and body, if it asked for it).
	Plan(x *Exchange) fixtures.Plan
	// PlanResponse adds to x.Plan what depends on the response's head. It is called
	// where Plan.NeedsResponse is set and an upstream or a cassette has answered.
	PlanResponse(x *Exchange) fixtures.Plan
}

// Responder answers in the upstream's place.
type Responder interface {
	// NeedsBody reports whether the answer to x may depend on the request's body.
	NeedsBody(x *Exchange) bool
	// Respond returns the answer to x, or *fixtures.MissError, which OnMiss decides on.
	// Any other error is answered with 500 and counts as a miss.
	Respond(x *Exchange) (*fixtures.Answer, error)
}

// Recorder keeps exchanges. Begin returns nil where x is not to be recorded.
type Recorder interface {
	Begin(x *Exchange) Tape
}

// Tape takes one exchange's bytes as they pass. Its methods never block and copy
// what they keep.
type Tape interface {
	RequestBody(p []byte)
	ResponseBody(p []byte)
	// Done hands over the finished record: heads, times, frames, outcome. x and the
	// arrays of its headers and frames are the pipeline's again when it returns.
	Done(x *fixtures.Exchange)
}

// Observer is told of connections and exchanges: ledger, metrics, live view.
// Its methods are called from many goroutines and must not block.
type Observer interface {
	// ConnOpened is told of a connection at its accept.
	ConnOpened(c *wire.Conn)
	// ConnClosed ends what ConnOpened began.
	ConnClosed(c *wire.Conn, end ConnEnd)
	// ExchangeBegun is told of an exchange once its request's head is read.
	ExchangeBegun(x *Exchange)
	// ExchangeDone ends what ExchangeBegun began. x and the arrays in it are the
	// pipeline's again when it returns, but for Fired's; strings may be kept.
	ExchangeDone(x *Exchange)
}

// ConnEnd says what became of a connection.
type ConnEnd struct {
	// Fate is what was done with it.
	Fate ConnFate
	// Reason says why it was not captured, or what broke it; "" for nothing to say.
	Reason string
	// Rule is the rule that refused it; "" for none.
	Rule string
	// Untrusted is set where the client broke off the TLS handshake with us: most
	// likely it does not trust our CA.
	Untrusted bool
	// Host is whom it was for, where that was known ("" otherwise): the host of
	// its first exchange where there were some.
	Host string
	// Protocol is what was spoken, as exchanges spell it: "HTTP/1.1", "HTTP/2.0";
	// "tls" and "raw" for what was not looked into; "" when nothing was said.
	Protocol string
	// BytesIn came from the client, BytesOut went to it; counted for passed connections.
	BytesIn, BytesOut int64
}

// ConnFate is what was done with a connection.
type ConnFate string

const (
	ConnCaptured ConnFate = "captured" // its exchanges went through the pipeline
	ConnPassed   ConnFate = "passed"   // its bytes were passed on unread
	ConnRefused  ConnFate = "refused"  // a rule refused it
	ConnDropped  ConnFate = "dropped"  // it could not be served: see Reason
)
