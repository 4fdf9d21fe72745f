package telemetry

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

var buffers = buffer.NewPool()

// console writes an entry as a person reads it:
//
//	15:04:05.123 info  listening door=forward addr=127.0.0.1:8080
//
// Fields that a logger carries come in the order of their names, then the
// entry's own in theirs. Values come from strangers (hosts, paths, errors), so
// nothing that could move a terminal's cursor gets through.
type console struct {
	*zapcore.MapObjectEncoder // the carried fields
}

func newConsole() console { return console{zapcore.NewMapObjectEncoder()} }

// Clone copies the carried fields.
func (c console) Clone() zapcore.Encoder {
	clone := newConsole()
	maps.Copy(clone.Fields, c.Fields)
	return clone
}

// EncodeEntry renders one line.
func (c console) EncodeEntry(e zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	b := buffers.Get()
	b.AppendTime(e.Time, "15:04:05.000")
	fmt.Fprintf(b, " %-5s ", e.Level.String())
	b.AppendString(printable(e.Message))
	for _, k := range slices.Sorted(maps.Keys(c.Fields)) {
		appendField(b, k, c.Fields[k])
	}
	for _, f := range fields {
		one := zapcore.NewMapObjectEncoder()
		f.AddTo(one)
		for _, k := range slices.Sorted(maps.Keys(one.Fields)) {
			appendField(b, k, one.Fields[k])
		}
	}
	b.AppendByte('\n')
	return b, nil
}

func appendField(b *buffer.Buffer, key string, value any) {
	b.AppendByte(' ')
	b.AppendString(printable(key))
	b.AppendByte('=')
	switch v := value.(type) {
	case string:
		b.AppendString(quoteIfNeeded(v))
	case time.Duration:
		b.AppendString(v.String())
	case time.Time:
		b.AppendTime(v, time.RFC3339)
	default:
		b.AppendString(quoteIfNeeded(fmt.Sprint(v)))
	}
}

// quoteIfNeeded leaves alone what reads as one word.
func quoteIfNeeded(s string) string {
	odd := func(r rune) bool { return r == ' ' || r == '"' || r == '=' || !unicode.IsPrint(r) }
	if s == "" || strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}

// printable keeps line breaks and tabs, which findings with a caret are made
// of, and escapes what is not to be printed.
func printable(s string) string {
	odd := func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }
	if !strings.ContainsFunc(s, odd) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if odd(r) {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
