package rules

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/internal/timing"
	"github.com/understudy-proxy/understudy/internal/watch"
)

// errorCodes are HTTP/2's. Source: RFC 9113, 7.
var errorCodes = []string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
	"STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
	"CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// faultReader reads the fault whose kind is at e; with holds the keys beside it.
type faultReader struct {
	with []string
	read func(r *reader, u *rule, kind entry, with map[string]entry)
}

// faultKinds has one reader a kind. The kind's key comes first in a fault.
var faultKinds = map[string]faultReader{
	"status":     {[]string{"reason", "headers", "body", "body_file"}, (*reader).faultStatus},
	"reset":      {[]string{"after"}, (*reader).faultReset},
	"close":      {nil, (*reader).faultClose},
	"hang":       {nil, (*reader).faultHang},
	"truncate":   {nil, (*reader).faultTruncate},
	"corrupt":    {nil, (*reader).faultCorrupt},
	"malformed":  {nil, (*reader).faultMalformed},
	"goaway":     {nil, (*reader).faultCode},
	"rst_stream": {nil, (*reader).faultCode},
	"drip":       {nil, func(r *reader, u *rule, kind entry, _ map[string]entry) { r.drip(u, kind) }},
	"refuse":     {nil, (*reader).faultRefuse},
	"dns":        {nil, (*reader).faultDNS},
}

// fault reads one fault of one kind.
func (r *reader) fault(u *rule, e entry) {
	entries, ok := r.mapping("fault", e.keyNode, e.value)
	if !ok {
		return
	}
	kinds := slices.Sorted(maps.Keys(faultKinds))
	var kind entry
	with := map[string]entry{}
	for _, f := range entries {
		switch _, known := faultKinds[f.key]; {
		case known && kind.keyNode != nil:
			r.fail(f.keyNode, "a rule for each", "fault: want one kind, got %s and %s", kind.key, f.key)
			return
		case known:
			kind = f
		default:
			with[f.key] = f
		}
	}
	if kind.keyNode == nil {
		if len(entries) == 1 {
			r.unknown(entries[0], "fault", kinds...)
			return
		}
		r.fail(e.keyNode, "", "fault: want one of %s", oneOf(kinds))
		return
	}
	fr := faultKinds[kind.key]
	for _, f := range entries {
		if f.keyNode != kind.keyNode && !slices.Contains(fr.with, f.key) {
			r.unknown(f, "fault", append([]string{kind.key}, fr.with...)...)
		}
	}
	fr.read(r, u, kind, with)
}

func (r *reader) faultStatus(u *rule, kind entry, with map[string]entry) {
	f := &fixtures.Fault{Kind: fixtures.FaultStatus}
	u.effects.fault = f
	r.read(kind, "fault: status", "a status from 200 to 999", "", func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < 200 || n > 999 {
			return fmt.Errorf("want a status from 200 to 999, got %q", shorten(text))
		}
		f.Status = n
		return nil
	})
	if e, ok := with["reason"]; ok {
		r.read(e, "fault: reason", "a text", "", func(text string) error {
			if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }) {
				return fmt.Errorf("want a text without control characters, got %q", shorten(text))
			}
			f.Reason = text
			return nil
		})
	}
	if e, ok := with["headers"]; ok {
		f.Header = r.fields("fault: headers", e)
	}
	if e, ok := with["body"]; ok {
		r.read(e, "fault: body", "a text", "", func(text string) error {
			f.Body = []byte(text)
			return nil
		})
	}
	if e, ok := with["body_file"]; ok {
		if other, both := with["body"]; both {
			r.fail(other.keyNode, "", "fault: want body or body_file, got both")
			return
		}
		r.read(e, "fault: body_file", "a file's name", "the path counts from the rule file's folder", func(text string) error {
			path := text
			if !filepath.IsAbs(path) {
				path = filepath.Join(r.dir, path)
			}
			named, err := watch.Named{Path: path, Sum: watch.Gone}, error(nil)
			if f.Body, err = watch.ReadFile(path); err == nil {
				named.Sum = watch.Sum(f.Body)
			}
			r.bodyFiles = append(r.bodyFiles, named)
			if err != nil {
				return fmt.Errorf("read %s: %s", path, reason(err))
			}
			u.digest = timing.MixString(u.digest, string(f.Body))
			return nil
		})
	}
}

func (r *reader) faultReset(u *rule, kind entry, with map[string]entry) {
	where, ok := r.choice(kind, "fault: reset",
		string(fixtures.WhereBeforeResponse), string(fixtures.WhereMidBody), string(fixtures.WhereAfterResponse))
	if !ok {
		return
	}
	f := &fixtures.Fault{Kind: fixtures.FaultReset, Where: fixtures.FaultWhere(where)}
	u.effects.fault = f
	if e, ok := with["after"]; ok {
		if f.Where != fixtures.WhereMidBody {
			r.fail(e.keyNode, "reset: mid_body", "fault: after: only a reset in the middle of the body comes after some of it")
			return
		}
		r.read(e, "fault: after", "a number of bytes such as 10KB", "", func(text string) (err error) {
			f.AfterBytes, err = parseSize(text)
			return err
		})
	}
}

func (r *reader) faultClose(u *rule, kind entry, _ map[string]entry) {
	var on bool
	r.boolean(kind, "fault: close", &on)
	if on {
		u.effects.fault = &fixtures.Fault{Kind: fixtures.FaultClose, Where: fixtures.WhereBeforeResponse}
	}
}

func (r *reader) faultHang(u *rule, kind entry, _ map[string]entry) {
	f := &fixtures.Fault{Kind: fixtures.FaultHang, Where: fixtures.WhereBeforeResponse}
	r.read(kind, "fault: hang", "true or a duration such as 30s", durationHint, func(text string) (err error) {
		if text == "false" {
			return nil
		}
		if text != "true" {
			f.For, err = parseDuration(text)
			if err != nil || f.For == 0 {
				return fmt.Errorf("want true or a duration such as \"30s\", got %q%s", shorten(text), unknownUnit(text))
			}
		}
		u.effects.fault = f
		return nil
	})
}

func (r *reader) faultTruncate(u *rule, kind entry, _ map[string]entry) {
	f := &fixtures.Fault{Kind: fixtures.FaultTruncate, Where: fixtures.WhereMidBody}
	u.effects.fault = f
	r.read(kind, "fault: truncate", "what is let through, such as 50% or 10KB", "", func(text string) (err error) {
		if strings.HasSuffix(text, "%") {
			f.AfterShare, err = parseShare(text)
			if err == nil && f.AfterShare < 1 {
				return nil
			}
		} else if f.AfterBytes, err = parseSize(text); err == nil {
			return nil
		}
		return fmt.Errorf("want what is let through, below 100%% or a number of bytes such as 10KB, got %q", shorten(text))
	})
}

func (r *reader) faultCorrupt(u *rule, kind entry, _ map[string]entry) {
	f := &fixtures.Fault{Kind: fixtures.FaultCorrupt}
	u.effects.fault = f
	r.read(kind, "fault: corrupt", "a share of the bytes such as 1%", "", func(text string) (err error) {
		if f.Share, err = parseShare(text); err == nil && f.Share == 0 {
			err = fmt.Errorf("want a share above 0, got %q", shorten(text))
		}
		return err
	})
}

func (r *reader) faultMalformed(u *rule, kind entry, _ map[string]entry) {
	where, _ := r.choice(kind, "fault: malformed",
		string(fixtures.WhereStatusLine), string(fixtures.WhereHeader), string(fixtures.WhereChunk))
	u.effects.fault = &fixtures.Fault{Kind: fixtures.FaultMalformed, Where: fixtures.FaultWhere(where)}
}

// faultCode reads goaway and rst_stream.
func (r *reader) faultCode(u *rule, kind entry, _ map[string]entry) {
	f := &fixtures.Fault{Kind: fixtures.FaultKind(kind.key), Where: fixtures.WhereBeforeResponse}
	u.effects.fault = f
	r.read(kind, "fault: "+kind.key, "an HTTP/2 error code such as CANCEL", "codes are "+strings.Join(errorCodes, ", "), func(text string) error {
		if i := slices.Index(errorCodes, strings.ToUpper(text)); i >= 0 {
			f.Code = uint32(i)
			return nil
		}
		n, err := strconv.ParseUint(text, 0, 32)
		if err != nil {
			return fmt.Errorf("want an HTTP/2 error code such as CANCEL or 8, got %q%s", shorten(text), meant(strings.ToUpper(text), errorCodes))
		}
		f.Code = uint32(n)
		return nil
	})
}

func (r *reader) faultRefuse(u *rule, kind entry, _ map[string]entry) {
	what, _ := r.choice(kind, "fault: refuse", string(fixtures.RefuseConnection), string(fixtures.RefuseTLS))
	u.effects.refuse = fixtures.Refusal(what)
}

func (r *reader) faultDNS(u *rule, kind entry, _ map[string]entry) {
	what, _ := r.choice(kind, "fault: dns", string(fixtures.NameUnknown), string(fixtures.NameFails), string(fixtures.NameTimeout))
	u.effects.name = fixtures.NameFault(what)
}

// drip reads {bytes: 1, every: 100ms}.
func (r *reader) drip(u *rule, e entry) {
	entries, ok := r.mapping("drip", e.keyNode, e.value)
	if !ok {
		return
	}
	if u.effects.drip != nil {
		r.fail(e.keyNode, "", "drip: it is there twice")
		return
	}
	d := &fixtures.Drip{Bytes: 1}
	for _, f := range entries {
		switch f.key {
		case "bytes":
			r.read(f, "drip: bytes", "a number of bytes", "", func(text string) error {
				n, err := parseSize(text)
				if err == nil && n > 1<<30 {
					err = fmt.Errorf("want at most 1GiB at a time, got %q", text)
				}
				d.Bytes = int(n)
				return err
			})
		case "every":
			r.read(f, "drip: every", "a duration such as 100ms", durationHint, func(text string) (err error) {
				if d.Every, err = parseDuration(text); err == nil && d.Every == 0 {
					err = fmt.Errorf("want a duration above 0, got %q", text)
				}
				return err
			})
		default:
			r.unknown(f, "drip", "bytes", "every")
			return
		}
	}
	if d.Every == 0 {
		r.fail(e.keyNode, "such as {bytes: 1, every: 100ms}", "drip: want every, the time between two pieces")
		return
	}
	u.effects.drip = d
}
