package app

import (
	"os"
	"testing"

	"github.com/understudy-proxy/understudy/proxy/ca"
)

// BenchmarkTrust is what trust costs at a captured command's start.
func BenchmarkTrust(b *testing.B) {
	a, err := ca.Load(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	kept := cache(b.TempDir())
	for b.Loop() {
		if _, err := trustFor(a, ca.BundleFiles(), javaStores(os.Getenv), kept, os.Getenv); err != nil {
			b.Fatal(err)
		}
	}
}
