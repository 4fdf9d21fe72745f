package admin

import (
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type document struct {
	OpenAPI    string
	Security   []any
	Paths      map[string]map[string]operation
	Components struct {
		Schemas   map[string]schema
		Responses map[string]response
	}
}

type operation struct {
	OperationID string
	Summary     string
	Security    []any // present and empty: open
	RequestBody any
	Responses   map[string]response
}

type response struct {
	Ref     string `json:"$ref"`
	Content map[string]struct{ Schema schema }
}

type schema struct {
	Ref                  string `json:"$ref"`
	Type                 string
	Required             []string
	Properties           map[string]schema
	Items                *schema
	AdditionalProperties *bool
	Enum                 []any
}

func readDocument(t *testing.T) *document {
	t.Helper()
	resp := ask(handler(t, fullOptions()), "GET", "/openapi.json", "")
	var d document
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.OpenAPI, "3.1.") || len(d.Security) != 1 {
		t.Errorf("openapi = %q with security %v, want 3.1 and the token", d.OpenAPI, d.Security)
	}
	return &d
}

func (d *document) response(r response) response {
	if name, ok := strings.CutPrefix(r.Ref, "#/components/responses/"); ok {
		return d.Components.Responses[name]
	}
	return r
}

func (d *document) schema(s schema) schema {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return d.Components.Schemas[name]
	}
	return s
}

func TestRoutesAreDocumented(t *testing.T) {
	d := readDocument(t)
	a := &api{Options: fullOptions()}
	documented := map[string]bool{}
	for path, ops := range d.Paths {
		for method := range ops {
			documented[strings.ToUpper(method)+" "+path] = true
		}
	}
	ids := map[string]bool{}
	for _, rt := range a.routes() {
		for method := range rt.methods {
			name := method + " " + rt.path
			if !documented[name] {
				t.Errorf("%s is not in openapi.yaml", name)
				continue
			}
			delete(documented, name)
			op := d.Paths[rt.path][strings.ToLower(method)]
			if isOpen := op.Security != nil && len(op.Security) == 0; isOpen != rt.open {
				t.Errorf("%s: document says open = %v, the route %v", name, isOpen, rt.open)
			}
			if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" {
				t.Errorf("%s: operationId %q, summary %q", name, op.OperationID, op.Summary)
			}
			ids[op.OperationID] = true
			if _, says401 := op.Responses["401"]; says401 == rt.open {
				t.Errorf("%s: 401 is documented = %v, open = %v", name, says401, rt.open)
			}
			if writes := method != http.MethodGet && rt.path != "/v1/scenarios/reset"; writes != (op.RequestBody != nil) {
				t.Errorf("%s: request body documented = %v, want %v", name, op.RequestBody != nil, writes)
			}
		}
	}
	for name := range documented {
		t.Errorf("openapi.yaml has %s, which is not served", name)
	}
}

// docs/admin.md lists the same paths.
func TestRoutesAreInTheGuide(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "admin.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, rt := range (&api{}).routes() {
		for method := range rt.methods {
			if row := "| `" + rt.path + "` | " + method + " |"; !strings.Contains(string(guide), row) {
				t.Errorf("docs/admin.md lacks the row %s", row)
			}
		}
	}
}

// provoke asks for an operation so that it answers with status.
func provoke(t *testing.T, method, path, status string) *http.Response {
	t.Helper()
	o := fullOptions()
	body := ""
	if method != http.MethodGet {
		body = `{"enabled": true}`
	}
	target := strings.ReplaceAll(path, "{name}", "slow%20tail%2F1")
	var header []string
	switch status {
	case "200":
	case "400":
		if method == http.MethodGet {
			target += "?limit=0"
		} else {
			body = "{}"
		}
	case "401":
		header = []string{"Authorization", ""}
	case "404":
		target = strings.ReplaceAll(path, "{name}", "none")
	case "413":
		body = strings.Repeat(" ", maxBody+1)
	case "415":
		header = []string{"Content-Type", "text/plain"}
	case "503":
		o.Ready = func() error { return io.ErrClosedPipe }
	default:
		t.Fatalf("%s %s: no way to provoke a documented %s", method, path, status)
	}
	return ask(handler(t, o), method, target, body, header...)
}

func TestDocumentedAnswersAreServed(t *testing.T) {
	d := readDocument(t)
	for path, ops := range d.Paths {
		for lower, op := range ops {
			method := strings.ToUpper(lower)
			for status, want := range op.Responses {
				want = d.response(want)
				resp := provoke(t, method, path, status)
				name := method + " " + path + " " + status
				if got := resp.Status[:3]; got != status {
					t.Errorf("%s: got %s", name, got)
					continue
				}
				mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
				content, ok := want.Content[mediaType]
				if !ok || len(want.Content) != 1 {
					t.Errorf("%s: Content-Type %q, documented are %v", name, mediaType, slices.Collect(maps.Keys(want.Content)))
					continue
				}
				if !strings.HasSuffix(mediaType, "json") {
					continue
				}
				var body any
				if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				d.hold(t, name, body, content.Schema)
			}
		}
	}
}

// hold compares a value with its schema: types, values of enums, and keys both ways.
func (d *document) hold(t *testing.T, at string, v any, s schema) {
	t.Helper()
	s = d.schema(s)
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
		t.Errorf("%s = %v, want one of %v", at, v, s.Enum)
	}
	switch v := v.(type) {
	case map[string]any:
		if s.AdditionalProperties != nil && *s.AdditionalProperties {
			return
		}
		got, want := slices.Sorted(maps.Keys(v)), slices.Sorted(maps.Keys(s.Properties))
		required := slices.Sorted(slices.Values(s.Required))
		if s.Type != "object" || !slices.Equal(got, want) || !slices.Equal(required, want) {
			t.Errorf("%s: keys are %v, documented %v, required %v", at, got, want, required)
		}
		for k, below := range v {
			d.hold(t, at+"."+k, below, s.Properties[k])
		}
	case []any:
		if s.Type != "array" || s.Items == nil || len(v) == 0 {
			t.Errorf("%s: %d items for a documented %q", at, len(v), s.Type)
			return
		}
		for _, item := range v {
			d.hold(t, at+"[]", item, *s.Items)
		}
	case string:
		d.holdType(t, at, s, "string")
	case float64:
		d.holdType(t, at, s, "integer", "number")
	case bool:
		d.holdType(t, at, s, "boolean")
	default:
		t.Errorf("%s = %v, want no null", at, v)
	}
}

func (d *document) holdType(t *testing.T, at string, s schema, types ...string) {
	t.Helper()
	if !slices.Contains(types, s.Type) {
		t.Errorf("%s: is %v, documented %q", at, types, s.Type)
	}
}
