//go:build linux

package gateway_test

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pair of a terminal and its other side.
func terminal(t *testing.T) (user, tty *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	t.Cleanup(func() { user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	return user, tty
}

// The command is in the terminal's foreground, and Ctrl-C reaches it without
// anybody passing it on.
func TestTerminal(t *testing.T) {
	user, tty := terminal(t)
	argv, env := as("host", self(), "tty")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(env, next+"=tty")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	lines := bufio.NewScanner(user)
	var all []string
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		all = append(all, line)
		if line == "ready" {
			_, _ = user.Write([]byte{3})
		}
	}
	_ = cmd.Wait()
	text := strings.Join(all, "\n")
	if strings.Contains(text, "capture: ") {
		t.Skip(text)
	}
	if !strings.Contains(text, "foreground true") || !strings.Contains(text, "interrupted") || cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("exit code %d, on the terminal:\n%s", cmd.ProcessState.ExitCode(), text)
	}
}
