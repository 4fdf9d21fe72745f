package shim

import (
	"syscall"
	"unsafe"
)

// A page that is touched for the first time costs a page fault: 0.2 µs on bare metal,
// 18 on a guest whose hypervisor has a part in it, and a start touches some 700. What
// will be touched anyway is asked for at once, for 0.1 to 1 µs a page. The
// kernel's word for that is MADV_POPULATE, since Linux 5.14; an older one says no and
// nothing is lost. It changes no byte. Source: linux/mman.h.
const (
	populateRead  = 22
	populateWrite = 23
)

// What of the writable memory a start touches, bytes: the end of the initialised data,
// where that with pointers is; the beginning of the other; the heap's first piece, as
// the runtime takes it from the kernel.
const (
	startsData = 256 << 10
	startsHeap = 4 << 20
)

// mapping is a piece of this process's memory.
type mapping struct {
	start, end     uintptr
	writable, file bool
}

// populate asks for what this process's start will touch: the program, and some of the
// writable memory. It is not for a shim, which touches little after this.
func populate() {
	text := read("/proc/self/maps")
	heap := uintptr(unsafe.Pointer(unsafe.StringData(text)))
	afterData := uintptr(0)
	for m := range mappings(text) {
		switch {
		case m.file && m.writable:
			advise(max(m.start, m.end-min(m.end, startsData)), m.end, populateWrite)
			afterData = m.end
		case m.file:
			advise(m.start, m.end, populateRead)
		case m.writable && m.start == afterData:
			advise(m.start, min(m.end, m.start+startsData), populateWrite)
		case m.writable && m.start <= heap && heap < m.end:
			advise(m.start, min(m.end, m.start+startsHeap), populateWrite)
		}
	}
}

func advise(start, end uintptr, what uintptr) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_MADVISE, start, end-start, what)
}

// mappings reads lines "START-END rw-p OFFSET DEVICE INODE  NAME", as far as they are
// such, and passes over what may not be read.
func mappings(text string) func(func(mapping) bool) {
	return func(yield func(mapping) bool) {
		for line := ""; text != ""; {
			line, text = upTo(text, '\n')
			var m mapping
			var bounds, flags, inode string
			bounds, line = upTo(line, ' ')
			flags, line = upTo(line, ' ')
			_, line = upTo(line, ' ')
			_, line = upTo(line, ' ')
			inode, _ = upTo(line, ' ')
			start, end := upTo(bounds, '-')
			var ok, ok2 bool
			m.start, ok = hexadecimal(start)
			m.end, ok2 = hexadecimal(end)
			if !ok || !ok2 || m.end < m.start || len(flags) < 2 || inode == "" {
				return
			}
			m.writable, m.file = flags[1] == 'w', inode != "0"
			if flags[0] == 'r' && !yield(m) {
				return
			}
		}
	}
}

// upTo is what comes before and after the first c; all and nothing where there is none.
func upTo(text string, c byte) (before, after string) {
	for i := range len(text) {
		if text[i] == c {
			return text[:i], text[i+1:]
		}
	}
	return text, ""
}

func hexadecimal(text string) (n uintptr, ok bool) {
	for _, c := range []byte(text) {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uintptr(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uintptr(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, text != ""
}
