package shim

import "syscall"

// early is a shim that was executed while this program's packages are initialised,
// which takes as long as a shim's own start; nil for none.
var early *Spawned

// Guess is what the command line of an early shim lets expect of its order. It may be
// wrong: an order that turns out to be another's is not used.
type Guess struct{ AskOutside bool }

var guess *Guess

// Guessed is what is to be expected of the early shim's order; nil where nothing can be
// said, or there is no early shim.
func Guessed() *Guess {
	if early == nil {
		return nil
	}
	return guess
}

// guessOrder makes nothing of a command line, or an environment, that may shape the
// link or ask for what only the configuration tells.
func guessOrder(args, env []string) *Guess {
	for _, v := range env {
		if begins(v, "UNDERSTUDY_") {
			return nil
		}
	}
	g := &Guess{AskOutside: args[1] == "replay"}
	for _, arg := range args[2:] {
		switch {
		case arg == "--":
			return g
		case begins(arg, "--rules"):
			g.AskOutside = true
		case begins(arg, "--link"), begins(arg, "--down"), begins(arg, "--up"), begins(arg, "--verify"), begins(arg, "--set"):
			return nil
		}
	}
	return g
}

func begins(text, with string) bool { return len(text) >= len(with) && text[:len(with)] == with }

// TakeEarly makes the early shim the caller's; nil where there is none, or no more.
// It has this process's own streams and directory. It must be ended or used.
func TakeEarly() *Spawned {
	s := early
	early = nil
	return s
}

// wantsEarly reports whether a command line says for certain, or nearly, that a
// command is to be captured in a namespace. Where it is wrong nothing is lost but
// the shim's start.
func wantsEarly(args []string) bool {
	if len(args) < 2 || args[1] != "record" && args[1] != "replay" && args[1] != "proxy" {
		return false
	}
	for i, arg := range args[2:] {
		if arg == "--" {
			return i+3 < len(args)
		}
		for _, other := range []string{"--forward", "--reverse", "--tcp", "--transparent", "--capture", "--config", "--help", "-h"} {
			if begins(arg, other) {
				return false
			}
		}
	}
	return false
}

// spawnEarly does so where it is wanted. What goes wrong is told by who tries again.
func spawnEarly(args []string) {
	if wantsEarly(args) {
		early, _ = Spawn("", [3]uintptr{0, 1, 2})
		guess = guessOrder(args, syscall.Environ())
		populate() // while the shim, which is waited for in the end, starts
	}
}

// arguments are os.Args, which package os has not read yet, as far as 16 KiB go.
func arguments() (args []string) {
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = syscall.Close(fd) }()
	buf := make([]byte, 16<<10)
	n, _ := syscall.Read(fd, buf)
	start := 0
	for i := range max(n, 0) {
		if buf[i] == 0 {
			args = append(args, string(buf[start:i]))
			start = i + 1
		}
	}
	return args
}
