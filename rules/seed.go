package rules

import (
	"strings"
	"sync/atomic"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// Each decision has a seed of its own, derived step by step:
//
//	identity  = method, host, target of the request
//	exchange  = root seed, identity, how often this identity came before
//	decision  = exchange, the rule's name, what is decided
//
// so that a request gets the same chaos whatever else runs beside it, and a
// rule that is added draws nothing away from the others.
const (
	decidesWhen uint64 = iota + 1
	decidesChance
	decidesHoldRequest
	decidesHoldFirstByte
	decidesCorrupt
	decidesHoldTotal
)

// occurrences counts how often each identity came. Its size is fixed: two
// identities that share a slot (one pair in 65,536) are counted together, and
// only their order among each other matters then.
type occurrences [1 << 16]atomic.Uint32

// next returns how often identity came before, and counts this time.
func (o *occurrences) next(identity uint64) uint64 {
	return uint64(o[identity%uint64(len(o))].Add(1) - 1)
}

func requestIdentity(r *fixtures.Request) uint64 {
	return timing.MixString(0, r.Method, strings.ToLower(r.Host), r.Target)
}

func doorIdentity(client, host string) uint64 {
	return timing.MixString(1, client, host)
}

func nameIdentity(name string) uint64 { return timing.MixString(2, name) }

func (u *rule) seedFor(exchange, what uint64) uint64 { return timing.Mix(exchange, u.seed, what) }
