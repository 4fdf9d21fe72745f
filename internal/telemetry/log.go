package telemetry

import (
	"fmt"
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// NewLogger returns a logger that writes to w, a line an entry and one Write
// each; it locks w. Level is debug, info, warn or error. Format is console, for
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
	// A logger that cannot write has nobody to tell, and must not write elsewhere.
	return zap.New(core, zap.ErrorOutput(zapcore.AddSync(io.Discard))), nil
}
