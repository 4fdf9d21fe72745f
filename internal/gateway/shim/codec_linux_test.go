package shim

import (
	"bytes"
	"reflect"
	"testing"
)

// FuzzOrder holds: what is encoded is decoded; what is not an order is refused or
// read, never more than there is; and what was read is encoded the same again.
func FuzzOrder(f *testing.F) {
	f.Add([]byte("content"), 7, []byte{1, 2, 3})
	f.Add([]byte(nil), -1, Order{Mark: 1, RulesInside: []Batch{{[]byte("y"), 2}}}.Encode())
	f.Fuzz(func(t *testing.T, content []byte, number int, wild []byte) {
		in := Order{
			Inherited: []int{number}, Probe: true, LinkInside: Batch{content, number},
			RulesInside: []Batch{{content, 1}}, Ports: Ports{1, 2, number}, Mark: number,
			LegacyInside: [2]Table{1: {content, 64, number}},
		}
		var out Order
		if err := out.Decode(in.Encode()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(out.Inherited, in.Inherited) || !bytes.Equal(out.LinkInside.Messages, content) || out.LinkInside.Last != number ||
			!bytes.Equal(out.RulesInside[0].Messages, content) || out.Ports != in.Ports || out.Mark != number ||
			out.LegacyInside[1].Pointer != number || !bytes.Equal(out.LegacyInside[1].Bytes, content) || !out.Probe || out.IPv6 {
			t.Fatalf("%+v became %+v", in, out)
		}
		var strange, again Order
		if strange.Decode(wild) == nil {
			if err := again.Decode(strange.Encode()); err != nil || !bytes.Equal(again.Encode(), strange.Encode()) {
				t.Fatalf("%+v became %+v (%v)", strange, again, err)
			}
		}
	})
}

// FuzzCommand holds the same for a command.
func FuzzCommand(f *testing.F) {
	f.Add("/bin/true", []byte("content"), 7, []byte{1, 2, 3})
	f.Add("", []byte(nil), -1, Command{Path: "x", Argv: []string{"y"}, Covers: []Cover{{Path: "/etc/x", Content: 1}}}.Encode())
	f.Fuzz(func(t *testing.T, path string, content []byte, number int, wild []byte) {
		in := Command{
			Path: path, Argv: []string{path, ""}, Env: []string{path}, Group: number,
			Covers: []Cover{{Path: path, Content: number}}, Contents: []Content{{Base: path, Bytes: content}},
		}
		var out Command
		if err := out.Decode(in.Encode()); err != nil {
			t.Fatal(err)
		}
		if out.Path != in.Path || !reflect.DeepEqual(out.Argv, in.Argv) || !reflect.DeepEqual(out.Env, in.Env) || out.Group != number ||
			!reflect.DeepEqual(out.Covers, in.Covers) || out.Contents[0].Base != path || !bytes.Equal(out.Contents[0].Bytes, content) {
			t.Fatalf("%+v became %+v", in, out)
		}
		var strange, again Command
		if strange.Decode(wild) == nil {
			if err := again.Decode(strange.Encode()); err != nil || !bytes.Equal(again.Encode(), strange.Encode()) {
				t.Fatalf("%+v became %+v (%v)", strange, again, err)
			}
		}
	})
}

func TestNotes(t *testing.T) {
	in := Note{Kind: SaysFailed, Step: StepLink, Text: "no", Number: -3, Errno: 12, Inode: 1 << 40, AskInside: true}
	var c codec
	c.note(&in)
	var out Note
	r := codec{buf: c.buf, reading: true}
	r.note(&out)
	if r.err != nil || out != in {
		t.Errorf("%+v became %+v (%v)", in, out, r.err)
	}
	for n := range len(c.buf) {
		short := codec{buf: c.buf[:n], reading: true}
		if short.note(&out); short.err == nil {
			t.Errorf("%d of %d bytes were enough", n, len(c.buf))
		}
	}
}

func TestProcessFiles(t *testing.T) {
	if got := parentIn("12 (a) b) (c) S 34 12 12 0"); got != 34 {
		t.Errorf("parentIn = %d, want 34", got)
	}
	for text, want := range map[string][]int{"": nil, "1 22  333 \n": {1, 22, 333}, "x 4": {4}} {
		if got := numbers(text); !reflect.DeepEqual(got, want) {
			t.Errorf("numbers(%q) = %v, want %v", text, got, want)
		}
	}
}
