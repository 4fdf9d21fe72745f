//go:build !linux || race

package sock

const canNote = false

func noted(*Conn) bool { return false }
