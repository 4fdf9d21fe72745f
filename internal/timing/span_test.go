package timing

import (
	"testing"
	"time"
)

func TestParseSpan(t *testing.T) {
	for text, want := range map[string]Span{
		"2m..3m":      {2 * time.Minute, 3 * time.Minute},
		"30s..":       {30 * time.Second, Endless},
		"..1m":        {0, time.Minute},
		" 1s .. 2s ":  {time.Second, 2 * time.Second},
		"1m..1m500ms": {time.Minute, time.Minute + 500*time.Millisecond},
	} {
		got, err := ParseSpan(text)
		if err != nil || got != want {
			t.Errorf("ParseSpan(%q) = %v, %v, want %v", text, got, err, want)
		}
		if again, err := ParseSpan(got.String()); err != nil || again != want {
			t.Errorf("ParseSpan(%q) = %v, %v, want %v again", got, again, err, want)
		}
	}
	for _, text := range []string{"", "..", "2m", "2m...3m", "3m..2m", "2m..2m", "-1s..2s", "1..2", "..0s"} {
		if got, err := ParseSpan(text); err == nil {
			t.Errorf("ParseSpan(%q) = %v, want an error", text, got)
		}
	}
	if s := (Span{time.Second, 2 * time.Second}); !s.Holds(time.Second) || s.Holds(2*time.Second) {
		t.Error("a span holds its begin and not its end")
	}
}

// What is read is written in a way that is read as the same.
func FuzzParseSpan(f *testing.F) {
	f.Add("2m..3m")
	f.Add("..1h")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSpan(text)
		if err != nil {
			return
		}
		if again, err := ParseSpan(s.String()); err != nil || again != s {
			t.Errorf("ParseSpan(%q) = %v, which is read as %v, %v", text, s, again, err)
		}
	})
}
