package http1

import (
	"context"
	"sync"
	"time"
)

// requestContext ends with its request. It is a context of its own so that a
// request that nobody waits on pays for no channel and no registration.
type requestContext struct {
	values context.Context // for Value alone

	mu    sync.Mutex
	done  chan struct{} // made when somebody asks for it
	err   error
	after []*func()
	conn  *Conn // closed when the context ends; nil for none
}

var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (c *requestContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c *requestContext) Value(key any) any           { return c.values.Value(key) }

func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		if c.err != nil {
			c.done = closedChan
		} else {
			c.done = make(chan struct{})
		}
	}
	return c.done
}

func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc runs f in a goroutine of its own once the context has ended.
// Package context uses it in place of a goroutine for each child.
func (c *requestContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f() // owned by whoever asked for it
		return func() bool { return false }
	}
	entry := &f
	c.after = append(c.after, entry)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i, e := range c.after {
			if e == entry {
				c.after = append(c.after[:i], c.after[i+1:]...)
				return true
			}
		}
		return false
	}
}

// attach has u closed when the context ends, at no cost; false where something
// is attached already, or the context has ended.
func (c *requestContext) attach(u *Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.conn != nil {
		return false
	}
	c.conn = u
	return true
}

// detach undoes attach; false where the context has ended first.
func (c *requestContext) detach(u *Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != u {
		return false
	}
	c.conn = nil
	return true
}

// untouched reports whether nobody ever asked for the context's end, and so
// nobody can still be waiting for it.
func (c *requestContext) untouched() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done == nil && len(c.after) == 0 && c.conn == nil
}

// cancel ends the context; the first call counts.
func (c *requestContext) cancel() {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = context.Canceled
	if c.done != nil {
		close(c.done)
	}
	after, conn := c.after, c.conn
	c.after, c.conn = nil, nil
	c.mu.Unlock()
	if conn != nil {
		go func() { _ = conn.Close() }() // a close may wait, under TLS; it ends soon
	}
	for _, f := range after {
		go (*f)() // owned by whoever asked for it
	}
}

// afterFunc is context.AfterFunc, cheaper on our own contexts.
func afterFunc(ctx context.Context, f func()) (stop func() bool) {
	if a, ok := ctx.(interface {
		AfterFunc(func()) func() bool
	}); ok {
		return a.AfterFunc(f)
	}
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, f)
}
