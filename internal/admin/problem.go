package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// problem is an error answer as of RFC 9457. Detail says what to do.
type problem struct {
	Type   string `json:"type"` // always "about:blank": the status says it all
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func writeProblem(w http.ResponseWriter, status int, detail string) {
	write(w, status, "application/problem+json", problem{"about:blank", http.StatusText(status), status, detail})
}

func writeJSON(w http.ResponseWriter, v any) { write(w, http.StatusOK, "application/json", v) }

func write(w http.ResponseWriter, status int, contentType string, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		// Only a ledger with a value that JSON cannot hold gets here.
		writeProblem(w, http.StatusInternalServerError, "encode the answer: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	// The client went away if this fails, and there is nobody to tell.
	_, _ = w.Write(b.Bytes())
}
