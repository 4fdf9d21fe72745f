package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-proxy/understudy/fixtures/place"
	"github.com/understudy-proxy/understudy/internal/timing"
)

// problem is what is wrong with a value, without its place. Want reads on from
// "want", as in `a duration such as "40ms"`.
type problem struct {
	want string
	hint string
}

const durationHint = "a number needs a unit: us, ms, s"

func parseDuration(s string) (time.Duration, *problem) {
	p := &problem{want: `a duration such as "40ms"`}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		p.hint = durationHint
		if unit := timing.UnknownUnit(s); unit != "" {
			p.hint = fmt.Sprintf("unknown unit %q: units are us, ms, s, m, h", unit)
		}
		return 0, p
	case d < 0:
		p.want = "a duration of 0 or more"
		return 0, p
	}
	return d, nil
}

// parseUnacknowledged reads how long what was sent may stay unacknowledged. Kernels hold
// acknowledgements back for up to half a second (RFC 9293, 3.8.6.3), and send again what
// was lost after 0.2 s.
func parseUnacknowledged(s string) (time.Duration, *problem) {
	d, p := parseDuration(s)
	if p == nil && d > 0 && d < time.Second {
		return 0, &problem{want: "0 or a duration of 1s or more", hint: "upstreams that are alive may take half a second to acknowledge"}
	}
	return d, p
}

// sizeUnits are tried in order, so longer suffixes come first.
var sizeUnits = []struct {
	suffix string
	factor float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"B", 1},
}

// parseSize reads "64MiB", "10KB", "512B" or a bare number of bytes.
func parseSize(s string) (int64, *problem) {
	p := &problem{want: `a size such as "64MiB"`, hint: "units are B, KB, MB, GB (1000) and KiB, MiB, GiB (1024); a bare number is bytes"}
	number, factor := s, 1.0
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			number, factor = strings.TrimSpace(n), u.factor
			break
		}
	}
	if number == "" || strings.Trim(number, "0123456789.") != "" {
		return 0, p // ParseFloat alone would take "inf", "1e9" and "0x1p2"
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n*factor > math.MaxInt64/2 {
		return 0, p
	}
	return int64(n * factor), nil
}

func parseBool(s string) (bool, *problem) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, &problem{want: "true or false"}
}

func parseSeed(s string) (uint64, *problem) {
	base := 10
	digits, hex := strings.CutPrefix(s, "0x")
	if hex {
		base = 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	if err != nil {
		return 0, &problem{want: "a whole number from 0 to 18446744073709551615"}
	}
	return n, nil
}

func parseSpeed(s string) (float64, *problem) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n > 0) || math.IsInf(n, 0) {
		return 0, &problem{want: "a number above 0", hint: "2 is twice as fast, 0.5 half as fast; for no waiting at all use timing: none"}
	}
	return n, nil
}

func parseEnum[T ~string](allowed ...T) func(string) (T, *problem) {
	return func(s string) (T, *problem) {
		if slices.Contains(allowed, T(s)) {
			return T(s), nil
		}
		names := make([]string, len(allowed))
		for i, a := range allowed {
			names[i] = string(a)
		}
		p := &problem{want: oneOf(names)}
		if near := place.Nearest(s, names); near != "" {
			p.hint = fmt.Sprintf("did you mean %q?", near)
		}
		return "", p
	}
}

// parsePath refuses what only a shell would expand.
func parsePath(s string) (string, *problem) {
	switch {
	case strings.ContainsAny(s, "\x00\r\n"):
		return "", &problem{want: "a path"}
	case s == "":
		return "", &problem{want: "a path", hint: "leave the key out for its default"}
	case strings.HasPrefix(s, "~"):
		return "", &problem{want: "a path", hint: "~ is expanded by shells only: write the whole path"}
	}
	return s, nil
}

// oneOf renders "a, b or c".
func oneOf(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
