//go:build !linux

package sock

const canNote = false

func noted(*Conn) bool { return false }
