// Package trial runs what must not be tried on a host: in a child with namespaces of its
// own, which are gone when it ends.
package trial
