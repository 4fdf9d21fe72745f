// Package emulator decides what a link does to packets: which are lost, doubled,
// damaged or marked, which overtake others, and when each arrives. It does in this
// process what the kernel's netem does, for kernels that have none.
//
// It has no sockets and no clock: who carries the packets says what time it is. The same
// seed and the same packets at the same moments give the same decisions on every machine.
package emulator
