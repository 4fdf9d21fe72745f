package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 123e6, time.UTC)

// fixedClock stamps entries with a fixed time.
type fixedClock struct{}

func (fixedClock) Now() time.Time                         { return noon }
func (fixedClock) NewTicker(d time.Duration) *time.Ticker { return time.NewTicker(d) }

func TestConsole(t *testing.T) {
	var b bytes.Buffer
	log, _, err := NewLogger("info", "console", &b)
	if err != nil {
		t.Fatal(err)
	}
	log = log.WithOptions(zap.WithClock(fixedClock{}))
	log.Debug("not wanted")
	log.Info("listening", zap.String("door", "forward"), zap.Int("port", 8080), zap.Duration("took", 1500*time.Microsecond))
	log.With(zap.String("b", "2"), zap.String("a", "1")).Warn("rules refused: u.yaml:1:1: x\n    seed\n    ^", zap.Error(errors.New("bad thing")))
	log.Error("evil \x1b[2J", zap.String("host", "a\x1b[31m\nfake line"), zap.String("empty", ""), zap.Strings("rules", []string{"a", "b"}), zap.Bool("ok", true))
	want := "12:00:00.123 info  listening door=forward port=8080 took=1.5ms\n" +
		"12:00:00.123 warn  rules refused: u.yaml:1:1: x\n    seed\n    ^ a=1 b=2 error=\"bad thing\"\n" +
		`12:00:00.123 error evil \x1b[2J host="a\x1b[31m\nfake line" empty="" rules="[a b]" ok=true` + "\n"
	if got := b.String(); got != want {
		t.Errorf("console log =\n%q, want\n%q", got, want)
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	log, _, err := NewLogger("debug", "json", &b)
	if err != nil {
		t.Fatal(err)
	}
	log.WithOptions(zap.WithClock(fixedClock{})).Debug("done\n", zap.Duration("took", 1500*time.Microsecond))
	want := `{"level":"debug","time":"2026-05-01T12:00:00.123Z","msg":"done\n","took":0.0015}` + "\n"
	if got := b.String(); got != want || !json.Valid(b.Bytes()) {
		t.Errorf("JSON log = %q, want %q", got, want)
	}
}

// Under load a message is sampled, but not in a log of which every line was asked for.
func TestSampling(t *testing.T) {
	var b bytes.Buffer
	log, each, err := NewLogger("info", "console", &b)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		log  *zap.Logger
		want int
	}{{"sampled", log, sampleFirst + 2}, {"each", each, 2500}} {
		b.Reset()
		to := c.log.WithOptions(zap.WithClock(fixedClock{}))
		for range 2500 {
			to.Info("rule fired")
		}
		if got := bytes.Count(b.Bytes(), []byte("\n")); got != c.want {
			t.Errorf("%s: %d lines of 2500, want %d", c.name, got, c.want)
		}
		b.Reset()
		to.Info("another")
		if b.Len() == 0 {
			t.Errorf("%s: another message was held back", c.name)
		}
	}
}

func TestNewLoggerErrors(t *testing.T) {
	for _, tc := range []struct{ level, format, want string }{
		{"loud", "json", `log level: want debug, info, warn or error, got "loud"`},
		{"fatal", "json", `log level: want debug, info, warn or error, got "fatal"`},
		{"info", "xml", `log format: want console or json, got "xml"`},
	} {
		if _, _, err := NewLogger(tc.level, tc.format, &bytes.Buffer{}); err == nil || err.Error() != tc.want {
			t.Errorf("NewLogger(%s, %s) = %v, want %s", tc.level, tc.format, err, tc.want)
		}
	}
}

// A carried field must not leak into the logger it was added to.
func TestConsoleCloneIsApart(t *testing.T) {
	var b bytes.Buffer
	log, _, err := NewLogger("info", "console", &b)
	if err != nil {
		t.Fatal(err)
	}
	log = log.WithOptions(zap.WithClock(fixedClock{}))
	log.With(zap.String("a", "1"))
	log.Info("x")
	if got, want := b.String(), "12:00:00.123 info  x\n"; got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
}

var _ zapcore.Encoder = console{}
