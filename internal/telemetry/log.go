package telemetry

import (
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Of each message, so many lines in a second, and then one in so many.
const (
	sampleFirst = 20
	sampleThen  = 1000
)

// NewLogger returns a logger that writes to w, a line an entry and one Write
// each; it locks w. Of one message at most 20 lines are written in a second, and
// one in a thousand of those beyond. Level is debug, info, warn or error. Format is console, for
// people, or json, whose lines have time (RFC 3339), level, msg and the entry's
// fields, with durations in seconds. Pass os.Stderr: standard output is data.
//
// On hot paths guard the fields with Check: building them costs more than the
// test that they are not wanted.
func NewLogger(level, format string, w io.Writer) (*zap.Logger, error) {
	at, err := zapcore.ParseLevel(level)
	if err != nil || at > zapcore.ErrorLevel {
		return nil, fmt.Errorf("log level: want debug, info, warn or error, got %q", level)
	}
	var enc zapcore.Encoder
	switch format {
	case "console":
		enc = newConsole()
	case "json":
		enc = zapcore.NewJSONEncoder(zapcore.EncoderConfig{
			TimeKey: "time", EncodeTime: zapcore.RFC3339NanoTimeEncoder,
			LevelKey: "level", EncodeLevel: zapcore.LowercaseLevelEncoder,
			MessageKey: "msg", LineEnding: "\n",
			EncodeDuration: zapcore.SecondsDurationEncoder,
		})
	default:
		return nil, fmt.Errorf("log format: want console or json, got %q", format)
	}
	core := zapcore.NewCore(enc, zapcore.Lock(zapcore.AddSync(w)), at)
	// Under load one line an exchange would cost more than the exchange: of each
	// message the first ones of a second are written, then every thousandth.
	core = zapcore.NewSamplerWithOptions(core, time.Second, sampleFirst, sampleThen)
	// A logger that cannot write has nobody to tell, and must not write elsewhere.
	return zap.New(core, zap.ErrorOutput(zapcore.AddSync(io.Discard))), nil
}
