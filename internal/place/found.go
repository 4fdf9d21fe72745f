package place

import "errors"

// Found is a finding for scripts: the parts of an Error by name.
type Found struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Findings returns all that err says, each with its place as far as one is known.
func Findings(err error) []Found {
	var l List
	if errors.As(err, &l) {
		out := make([]Found, len(l))
		for i, e := range l {
			out[i] = found(e)
		}
		return out
	}
	var e *Error
	if errors.As(err, &e) {
		return []Found{found(e)}
	}
	return []Found{{Message: err.Error()}}
}

func found(e *Error) Found {
	return Found{File: e.File, Line: e.Line, Column: e.Column, Message: e.Msg, Hint: e.Hint}
}
