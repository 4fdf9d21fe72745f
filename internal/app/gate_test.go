package app

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures/cassette"
	"github.com/understudy-proxy/understudy/internal/gate"
)

func TestGateCassettesAreGood(t *testing.T) {
	dir := t.TempDir()
	items, stream, large := filepath.Join(dir, "items.ndjson"), filepath.Join(dir, "stream.ndjson"), filepath.Join(dir, "large.ndjson")
	if err := writeItems(items, 3); err != nil {
		t.Fatal(err)
	}
	if err := writeStream(stream); err != nil {
		t.Fatal(err)
	}
	if err := writeLarge(large); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{items, stream, large} {
		if found, err := cassette.Verify(file); err != nil || len(found) > 0 {
			t.Errorf("Verify(%s) = %v, %v, want nothing", file, found, err)
		}
		c, err := cassette.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for x, err := range c.Exchanges() {
			if err != nil {
				t.Fatal(err)
			}
			b := &x.Response.Body
			if file == items && (x.Request.Target != fmt.Sprint(itemPath, n) || b.Size != 1024) {
				t.Errorf("exchange %d: %s with %d bytes, want a KiB of its item", n, x.Request.Target, b.Size)
			}
			if file == stream && (len(b.Frames) != gate.StreamEvents || !bytes.HasPrefix(b.Bytes, gate.StreamEvent(0)) || !bytes.HasSuffix(b.Bytes, gate.StreamEvent(gate.StreamEvents-1))) {
				t.Errorf("stream = %d frames of %q", len(b.Frames), b.Bytes)
			}
			if file == large && len(b.Bytes) != gate.LargeSize {
				t.Errorf("large = %d bytes, want %d", len(b.Bytes), gate.LargeSize)
			}
			n++
		}
		if want := map[string]int{items: 3, stream: 1, large: 1}[file]; n != want {
			t.Errorf("%s has %d exchanges, want %d", file, n, want)
		}
	}
}

func TestOwnEnviron(t *testing.T) {
	env := []string{"HOME=/h", "UNDERSTUDY_SEED=1", "UNDERSTUDY_INTERNAL_X=1", "UNDERSTUDY_RULES=a"}
	if got := ownEnviron(env, "/d"); !slices.Equal(got, []string{"HOME=/h", "UNDERSTUDY_INTERNAL_X=1", "XDG_STATE_HOME=/d"}) {
		t.Errorf("ownEnviron = %q", got)
	}
}
