package ca

import (
	"container/list"
	"crypto/tls"
	"sync"
	"time"
)

// maxLeaves bounds the cache: about 1.5 KB each, some 15 MB when it is full.
const maxLeaves = 10_000

// cache keeps the certificates used last.
type cache struct {
	max int

	mu     sync.Mutex
	order  *list.List // of *entry, the one used last in front
	byName map[string]*list.Element
}

type entry struct {
	name string
	once sync.Once
	cert *tls.Certificate
	err  error
	// renewAt is when a new one is wanted. Guarded by cache.mu.
	renewAt time.Time
}

func newCache(max int) *cache {
	return &cache{max: max, order: list.New(), byName: map[string]*list.Element{}}
}

// get returns the certificate for name, made by mint where there is none that
// lasts. mint runs outside the lock, once for all who wait for the same name.
func (c *cache) get(name string, now time.Time, mint func() (*tls.Certificate, error)) (*tls.Certificate, error) {
	e := c.entry(name, now)
	e.once.Do(func() { e.cert, e.err = mint() })
	if e.err != nil {
		c.drop(e)
	}
	return e.cert, e.err
}

func (c *cache) entry(name string, now time.Time) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.byName[name]; ok {
		e := el.Value.(*entry)
		if now.Before(e.renewAt) {
			c.order.MoveToFront(el)
			return e
		}
		c.order.Remove(el)
	}
	e := &entry{name: name, renewAt: now.Add(leafLife - leafMargin)}
	c.byName[name] = c.order.PushFront(e)
	if c.order.Len() > c.max {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.byName, last.Value.(*entry).name)
	}
	return e
}

// drop forgets e, so that the next caller tries again.
func (c *cache) drop(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.byName[e.name]; ok && el.Value == e {
		c.order.Remove(el)
		delete(c.byName, e.name)
	}
}
