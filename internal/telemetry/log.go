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
// one in a thousand of those beyond; each is the same logger without that bound,
// for a log of which every line was asked for. Level is debug, info, warn or error. Format is console, for
// people, or json, whose lines have time (RFC 3339), level, msg and the entry's
// fields, with durations in seconds. Pass os.Stderr: standard output is data.
//
// On hot paths guard the fields with Check: building them costs more than the
// test that they are not wanted.
func NewLogger(level, format string, w io.Writer) (log, each *zap.Logger, err error) {
	at, err := zapcore.ParseLevel(level)
	if err != nil || at > zapcore.ErrorLevel {
		return nil, nil, fmt.Errorf("log level: want debug, info, warn or error, got %q", level)
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
		return nil, nil, fmt.Errorf("log format: want console or json, got %q", format)
	}
	core := zapcore.NewCore(enc, zapcore.Lock(zapcore.AddSync(w)), at)
	// A logger that cannot write has nobody to tell, and must not write elsewhere.
	quiet := zap.ErrorOutput(zapcore.AddSync(io.Discard))
	// Under load one line an exchange would cost more than the exchange: of each
	// message the first ones of a second are written, then every thousandth.
	return zap.New(zapcore.NewSamplerWithOptions(core, time.Second, sampleFirst, sampleThen), quiet), zap.New(core, quiet), nil
}
