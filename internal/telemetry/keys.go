package telemetry

import (
	"net/http"
	"slices"
)

// heads are labels that both sides of an exchange have, as positions in the lists of
// known values, which costs less to look up than texts.
type heads struct {
	status                  uint16 // 0 where no response came
	method, version, scheme uint8
	errorType               uint8
}

// servedKey is a label set.
type servedKey struct {
	route string
	heads
	outcome, source uint8
}

// Positions in the lists of known values, for what is not in them.
const (
	anyOther   = 255 // overflow, or _OTHER
	noValue    = 254 // "none", or ""
	statusType = 253 // an error type that is the status
)

func position(s string, values []string) uint8 {
	if s == "" {
		return noValue
	}
	if i := slices.Index(values, s); i >= 0 {
		return uint8(i)
	}
	return anyOther
}

func valueAt(i uint8, values []string, none, other string) string {
	switch i {
	case noValue:
		return none
	case anyOther:
		return other
	}
	return values[i]
}

func keyOf(e *Exchange) servedKey {
	k := servedKey{outcome: position(e.Outcome, outcomes), source: position(e.Source, sources), heads: headsOf(e)}
	if k.outcome == noValue {
		k.outcome = 0 // complete
	}
	return k
}

func headsOf(e *Exchange) heads {
	k := heads{
		method: position(e.Method, methods), version: position(e.Proto, protos), scheme: position(e.Scheme, schemes),
		errorType: position(e.ErrorType, errorTypes),
	}
	if e.Status >= 100 && e.Status <= 999 {
		k.status = uint16(e.Status)
	}
	if k.method == noValue {
		k.method = anyOther
	}
	if k.version == noValue {
		k.version = anyOther
	}
	if k.scheme == noValue {
		k.scheme = anyOther
	}
	if e.ErrorType == "" && k.status >= http.StatusInternalServerError {
		k.errorType = statusType
	}
	return k
}

// texts are k's values.
func (k *heads) texts() (method, status, version, scheme, errorType string) {
	status = statusLabel(int(k.status))
	errorType = status
	if k.errorType != statusType {
		errorType = valueAt(k.errorType, errorTypes, "", "_OTHER")
	}
	return valueAt(k.method, methods, "_OTHER", "_OTHER"), status, valueAt(k.version, versions, overflow, overflow),
		valueAt(k.scheme, schemes, overflow, overflow), errorType
}

// labels are k's values in the order of serverLabels.
func (k *servedKey) labels() [6]string {
	method, status, version, scheme, errorType := k.texts()
	return [6]string{method, status, k.route, version, scheme, errorType}
}

// remembered returns text as a label's value, overflow beyond the bound of all. seen has
// those that a part of the counters got before, which need not be asked for again.
func remembered(seen map[string]string, all *bounded, text []byte) string {
	value, ok := seen[string(text)]
	if !ok {
		if value = valid(all.get(text)); value == string(text) {
			seen[value] = value
		}
	}
	return value
}

// entry returns what is under k, new where there was nothing.
func entry[K comparable, V any](m map[K]*V, k K) *V {
	v := m[k]
	if v == nil {
		v = new(V)
		m[k] = v
	}
	return v
}
