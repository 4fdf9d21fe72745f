//go:build linux

package nstest

import (
	"testing"

	"github.com/google/nftables"
)

// Tables are the names of the nftables tables in this network namespace.
func Tables(t testing.TB) (names []string) {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	all, err := conn.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		names = append(names, one.Name)
	}
	return names
}
