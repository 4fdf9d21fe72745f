package demo

import (
	"os"
	"path/filepath"
	"testing"
)

// The sample shop is this session, recorded. Change one and the other must follow:
//
//	go test ./internal/demo -run TestSampleShop -update
const (
	sampleSeed = 7
	sampleDir  = "../../fixtures/samples/shop"
)

var samplePace = pace{customers: 8, rounds: 2}

func TestSampleShop(t *testing.T) {
	tour := newTour(t, sampleSeed, samplePace)
	if *update {
		recordSample(t, tour)
	}
	var got *played
	l, code, err := tour.serve(t.Context(), []string{"replay", "-f", sampleDir, "--timing", "none", "--reverse", "127.0.0.1:0=" + dependency},
		func(_ Process, url string) (err error) {
			got, err = tour.session().play(t.Context(), url)
			return err
		})
	if err != nil {
		t.Fatal(err)
	}
	hits, misses := l.Ledger.Exchanges.Sources["hit"], l.Ledger.Exchanges.Sources["miss"]
	if code != 0 || misses > 0 || hits != len(got.calls) || hits < 40 {
		t.Errorf("replay of the sample: %d of %d calls hit, %d misses, exit %d", hits, len(got.calls), misses, code)
	}
	for _, v := range got.visits {
		if v.failed() {
			t.Errorf("%s = %d, want no failure", v.op, v.status)
		}
	}
}

func recordSample(t *testing.T, tour *tour) {
	t.Helper()
	if err := tour.record(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(sampleDir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Clean(sampleDir), os.DirFS(tour.cassette())); err != nil {
		t.Fatal(err)
	}
}
