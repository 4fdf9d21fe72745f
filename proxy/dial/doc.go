// Package dial connects to a host by any of its addresses, some of which may be dead:
// packets to them vanish, and nothing says so. It remembers which were, and keeps no
// connection.
//
// Source: RFC 8305 (Happy Eyeballs), sections 4 and 5, also within one family.
package dial
