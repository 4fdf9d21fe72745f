package app

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends the child when we are killed. The kernel ties it to the
// thread that starts the child; Go ends a thread early only where a goroutine
// locked to it returns, which none here does.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
