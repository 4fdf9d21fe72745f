package shaping

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/understudy-proxy/understudy/fixtures/place"
)

func classesTo(t *testing.T, texts ...string) (all []LinkClass) {
	t.Helper()
	b, err := NewBook()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		c, err := b.ParseTo(text)
		if err != nil {
			t.Fatalf("ParseTo(%q) = %v", text, err)
		}
		all = append(all, c)
	}
	return all
}

func TestKernelClasses(t *testing.T) {
	lookup := func(_ context.Context, host string) ([]netip.Addr, error) {
		switch host {
		case "db.internal":
			return []netip.Addr{netip.MustParseAddr("2001:db8::5"), netip.MustParseAddr("::ffff:10.0.0.5"), netip.MustParseAddr("10.0.0.5")}, nil
		case "empty.test":
			return nil, nil
		}
		return nil, errors.New("no such host")
	}
	fixed, notes, err := KernelClasses(t.Context(), classesTo(t, "db.internal:5432,10.9.0.0/16=delay=1ms", ":53=none"), lookup)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(leasedClasses(fixed)), "[{db.internal:5432,10.9.0.0/16 [10.0.0.5:5432 [2001:db8::5]:5432 10.9.0.0/16]} {:53 [:53]}]"; got != want {
		t.Errorf("classes = %s, want %s", got, want)
	}
	if len(notes) != 1 || !strings.Contains(notes[0].String(), "db.internal is 10.0.0.5, 2001:db8::5: looked up once") {
		t.Errorf("notes = %v", notes)
	}
	for _, tt := range []struct{ to, want string }{
		{"*.internal=lte", `got "*.internal": the kernel sees addresses`},
		{"nobody.test=lte", `got "nobody.test": no such host`},
		{"empty.test=lte", "which has none"},
	} {
		_, _, err := KernelClasses(t.Context(), classesTo(t, tt.to), lookup)
		if e, ok := errors.AsType[*place.Error](err); !ok || !strings.Contains(err.Error(), tt.want) || e.Hint == "" {
			t.Errorf("KernelClasses(%s) = %v, want %q and a hint", tt.to, err, tt.want)
		}
	}
	wide := LinkClass{Name: "wide"}
	for bits := range 20 {
		d, err := ParseDestination(fmt.Sprintf("10.0.0.0/%d:1-65534", bits+8))
		if err != nil {
			t.Fatal(err)
		}
		wide.To = append(wide.To, d)
	}
	if _, _, err := KernelClasses(t.Context(), []LinkClass{wide}, lookup); err == nil || !strings.Contains(err.Error(), "at most 1000 of the kernel's filters") {
		t.Errorf("KernelClasses of many filters = %v", err)
	}
	var many []string
	for i := range 16 {
		many = append(many, fmt.Sprintf("10.0.%d.0/24=delay=1ms", i))
	}
	if _, _, err := KernelClasses(t.Context(), classesTo(t, many...), lookup); err == nil || !strings.Contains(err.Error(), "at most 15 classes, got 16") {
		t.Errorf("KernelClasses of 16 = %v", err)
	}
	if fixed, _, err := KernelClasses(t.Context(), classesTo(t, many[1:]...), lookup); err != nil || len(fixed) != 15 {
		t.Errorf("KernelClasses of 15 = %d, %v", len(fixed), err)
	}
}

func TestSevers(t *testing.T) {
	cut, mild := Link{Up: Conditions{Loss: 1}}, Link{Up: Conditions{Loss: 0.01}}
	peer := netip.MustParseAddr("10.9.0.9")
	for _, tt := range []struct {
		name string
		link Link
		to   []string
		want string
	}{
		{"the link alone", cut, nil, "100%"},
		{"a mild link", mild, nil, ""},
		{"a class that has the peer", mild, []string{"10.9.0.0/24=loss=100%"}, "class 10.9.0.0/24: 100%"},
		{"a class of others", mild, []string{"10.8.0.0/24=loss=100%"}, ""},
		{"the link's does not hold in a class", cut, []string{"10.9.0.0/24=loss=1%"}, ""},
		{"but may where the class has ports", cut, []string{"10.9.0.0/24:22=loss=1%"}, "100%"},
		{"ports may be the session's", mild, []string{":5432=loss=100%"}, "class :5432"},
		{"the first class takes it", mild, []string{"10.9.0.9=none", "10.9.0.0/24=loss=100%"}, ""},
		{"unless it may not have it", mild, []string{"10.9.0.9:22=none", "10.9.0.0/24=loss=100%"}, "class 10.9.0.0/24"},
		{"a name may be anybody's", mild, []string{"db.test=loss=100%"}, "class db.test"},
	} {
		got := Severs(tt.link, classesTo(t, tt.to...), peer)
		if (got == "") != (tt.want == "") || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: Severs = %q, want %q", tt.name, got, tt.want)
		}
	}
}
