package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Compared is a program that is compared with another one.
type Compared struct {
	original string
	copied   string // what runs in its place
}

// of is the program that runs s. What captures may be allowed to by its path, so the
// copy does not.
func (c Compared) of(s stage) program {
	if s.loads {
		return program{c.original, c.original}
	}
	return program{c.copied, c.original}
}

// SideBySide copies the programs to be compared, side by side and in the same way, until
// remove. A program that runs from the same file as the gate's load and upstream shares
// the memory of its code with them, and finds it in the CPU's caches when its turn comes:
// that is worth a per cent or two of CPU time. All run from where they are when one is a
// script, which starts this one perhaps, or when what is copied cannot be run.
func SideBySide(originals ...string) (programs []Compared, remove func() error, err error) {
	dir, err := os.MkdirTemp("", "understudy-gate-")
	if err != nil {
		return nil, nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	apart := true
	for i, name := range originals {
		c := Compared{name, filepath.Join(dir, fmt.Sprintf("%d-%s", i, filepath.Base(name)))}
		script, err := copyProgram(c.copied, name)
		if err != nil {
			return nil, nil, errors.Join(err, remove())
		}
		apart = apart && !script
		programs = append(programs, c)
	}
	// Where there is noexec on the temporary directory, not even this one starts.
	if !apart || exec.Command(programs[0].copied, "--version").Run() != nil {
		for i := range programs {
			programs[i].copied = programs[i].original
		}
	}
	return programs, remove, nil
}

// copyProgram copies a program, unless it is a script.
func copyProgram(to, from string) (script bool, err error) {
	in, err := os.Open(from)
	if err != nil {
		return false, err
	}
	defer in.Close()
	head := make([]byte, 2)
	if _, err := io.ReadFull(in, head); err != nil || bytes.Equal(head, []byte("#!")) {
		return true, nil // or too short to be anything else
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o700)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(out, in)
	return false, errors.Join(err, out.Close())
}
