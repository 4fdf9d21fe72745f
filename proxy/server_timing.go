package proxy

import (
	"strconv"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/fixtures"
)

var timingText = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// serverTiming tells the client what its time went into until the answer's head
// was made (W3C Server Timing; durations in milliseconds), and which rules fired. Stages
// that the exchange did not come to are left out.
func (v *visit) serverTiming() string {
	own := v.ownUntil(v.now())
	b := make([]byte, 0, 256)
	b = appendTiming(b, "own", own.Sum())
	b = appendTiming(b, "upstream", v.upstream)
	b = appendTiming(b, "injected", v.injected+v.paced)
	b = appendTiming(b, "client", v.client)
	for i, d := range own {
		if d > 0 {
			b = appendTiming(b, "own-"+fixtures.Stage(i).String(), d)
		}
	}
	for _, name := range v.x.Fired {
		b = append(b, `, rule;desc="`...)
		b = append(b, timingText.Replace(oneLine(name))...)
		b = append(b, '"')
	}
	return string(b)
}

func appendTiming(b []byte, name string, d time.Duration) []byte {
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	b = append(b, name...)
	b = append(b, ";dur="...)
	return strconv.AppendFloat(b, float64(d)/float64(time.Millisecond), 'f', 3, 64)
}
