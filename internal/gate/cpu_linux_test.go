package gate

import (
	"os"
	"testing"
	"time"
)

func TestCPUTimeIsFine(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for after := before; after-before < 100*time.Microsecond; {
		if after, err = cpuTime(os.Getpid()); err != nil || after < before {
			t.Fatalf("cpuTime = %v, %v after %v", after, err, before)
		}
	}
	// Steps of a tick would be multiples of 10 ms.
	if d, _ := cpuTime(os.Getpid()); d%(10*time.Millisecond) == 0 {
		t.Errorf("cpuTime = %v, want nanoseconds", d)
	}
	for _, bad := range []int{0, -1, 1 << 30} {
		if _, err := cpuTime(bad); err == nil {
			t.Errorf("cpuTime(%d): no error", bad)
		}
		if _, err := residentSize(bad); err == nil {
			t.Errorf("residentSize(%d): no error", bad)
		}
	}
}

func TestResidentSize(t *testing.T) {
	if got, err := residentSize(os.Getpid()); err != nil || got < 1<<20 {
		t.Errorf("residentSize = %d, %v, want a MiB or more", got, err)
	}
	if got, err := parseStatm([]byte("1000 25 3 1 0 5 0")); err != nil || got != 25*int64(os.Getpagesize()) {
		t.Errorf("parseStatm = %d, %v, want 25 pages", got, err)
	}
	for _, bad := range []string{"", "7", "7 x", "7 -1"} {
		if _, err := parseStatm([]byte(bad)); err == nil {
			t.Errorf("parseStatm(%q): no error", bad)
		}
	}
}
