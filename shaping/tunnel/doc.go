// Package tunnel carries the packets of a link between its two ends, which are devices
// that give them to this process, and lets an emulator decide what becomes of each. It
// makes no device and no namespace: it is handed their descriptors.
package tunnel
