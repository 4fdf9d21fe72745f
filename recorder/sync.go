package recorder

import (
	"errors"
	"os"
	"sync"
)

// syncsAtOnce is how many files are synced together: file systems put what waits
// at one moment into one commit of their journal.
const syncsAtOnce = 16

// syncPlainly syncs each of the files in a system call of its own, all at once.
func syncPlainly(fs []*os.File) error {
	if len(fs) == 1 {
		return fs[0].Sync()
	}
	errs := make([]error, len(fs))
	var all sync.WaitGroup
	for i, f := range fs {
		all.Go(func() { errs[i] = f.Sync() }) // awaited below
	}
	all.Wait()
	return errors.Join(errs...)
}
