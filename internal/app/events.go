package app

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Events tells scripts and people what a run does: a line of text each, or a
// JSON object each. Text goes to where a person looks, JSON to where data goes.
type Events struct {
	mu   sync.Mutex
	w    io.Writer
	json bool
}

// NewEvents returns events on w, as JSON objects one a line or as text.
func NewEvents(w io.Writer, asJSON bool) *Events { return &Events{w: w, json: asJSON} }

// Listening tells of a listener that is ready: kind as on the command line, and
// its URL or address.
func (e *Events) Listening(kind, addr, to string) {
	e.emit(fmt.Sprintf("listening %s %s", kind, addr), map[string]any{"event": "listening", "kind": kind, "address": addr}, "to", to)
}

// Note tells of anything else: text for people, fields for scripts.
func (e *Events) Note(event, text string, fields map[string]any) {
	all := map[string]any{"event": event}
	for k, v := range fields {
		all[k] = v
	}
	e.emit(text, all, "", "")
}

func (e *Events) emit(text string, fields map[string]any, key, value string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.json {
		if text != "" {
			_, _ = fmt.Fprintln(e.w, text)
		}
		return
	}
	if value != "" {
		fields[key] = value
	}
	line, err := json.Marshal(fields)
	if err != nil { // a value that JSON cannot hold; the event itself still counts
		line, _ = json.Marshal(map[string]any{"event": fields["event"], "error": err.Error()})
	}
	_, _ = e.w.Write(append(line, '\n'))
}
