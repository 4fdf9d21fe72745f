package probes

import (
	"encoding/binary"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stamped is when the kernel got a packet, ns of the system's clock, and how many the
// socket could not hold so far.
func stamped(oob []byte) (at int64, missed uint32) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err == nil {
		for _, m := range messages {
			switch {
			case m.Header.Level != unix.SOL_SOCKET:
			case m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})):
				at = (*unix.Timespec)(unsafe.Pointer(&m.Data[0])).Nano()
			case m.Header.Type == unix.SO_RXQ_OVFL && len(m.Data) >= 4:
				missed = binary.NativeEndian.Uint32(m.Data)
			}
		}
	}
	if at == 0 {
		at = time.Now().UnixNano()
	}
	return at, missed
}
