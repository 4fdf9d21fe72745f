package shim

import (
	"fmt"
	"syscall"
	"testing"
	"unsafe"
)

func TestMappings(t *testing.T) {
	text := `00400000-00fae000 r-xp 00000000 fe:00 4242                               /usr/bin/understudy
01b90000-01c94000 rw-p 01790000 fe:00 4242                               /usr/bin/understudy
01c94000-03ce1000 rw-p 00000000 00:00 0
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
nonsense
01000000-02000000 rw-p 00000000 00:00 0
`
	want := []mapping{{0x400000, 0xfae000, false, true}, {0x1b90000, 0x1c94000, true, true}, {0x1c94000, 0x3ce1000, true, false}}
	for m := range mappings(text) {
		if len(want) == 0 {
			t.Fatalf("one more: %+v", m)
		}
		if m != want[0] {
			t.Errorf("got %+v, want %+v", m, want[0])
		}
		want = want[1:]
	}
	if len(want) > 0 {
		t.Errorf("without %+v", want)
	}
}

// What is written as the kernel writes it is read as it was.
func FuzzMappings(f *testing.F) {
	f.Add(uint64(0x400000), uint64(0xfae000), true, false, "")
	f.Add(uint64(0xc000000000), uint64(0xc000400000), false, true, "junk\n")
	f.Fuzz(func(t *testing.T, start, end uint64, file, writable bool, more string) {
		flags, inode := "r-xp", 0
		if writable {
			flags = "rw-p"
		}
		if file {
			inode = 7
		}
		line := fmt.Sprintf("%08x-%08x %s 00000000 fe:00 %d    /some where\n", start, end, flags, inode)
		for m := range mappings(line + more) {
			if want := (mapping{uintptr(start), uintptr(end), writable, file}); end >= start && m != want {
				t.Fatalf("%q is read as %+v, want %+v", line, m, want)
			}
			return
		}
		if end >= start {
			t.Fatalf("%q is not read", line)
		}
	})
}

// All that is asked for is there, and is what it was.
func TestPopulate(t *testing.T) {
	const pages = 64
	size := pages * syscall.Getpagesize()
	m, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Munmap(m) }()
	m[0], m[size-1] = 1, 2
	start := uintptr(unsafe.Pointer(&m[0]))
	if _, _, no := syscall.Syscall(syscall.SYS_MADVISE, start, uintptr(size), populateWrite); no == syscall.EINVAL {
		t.Skip("this kernel populates nothing on request: it is older than 5.14")
	}
	advise(start, start+uintptr(size), populateWrite)
	var there [pages]byte
	if _, _, no := syscall.Syscall(syscall.SYS_MINCORE, start, uintptr(size), uintptr(unsafe.Pointer(&there[0]))); no != 0 {
		t.Fatal(no)
	}
	for i, page := range there {
		if page&1 == 0 {
			t.Errorf("page %d is not there", i)
		}
	}
	if m[0] != 1 || m[size-1] != 2 || m[size/2] != 0 {
		t.Error("the bytes have changed")
	}
	populate() // this process goes on
}
