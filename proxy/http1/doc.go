// Package http1 speaks HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112) on raw
// connections, to clients (Server) and to upstreams (Conn). Field names,
// their case and their order, reason phrases and chunk borders pass as they
// stood on the wire.
//
// It decides nothing about messages: a wire.Handler answers, a pool dials and
// keeps connections. It repairs no request: what could be read in two ways is
// refused.
//
// A client that closes its writing half after a request is taken to have
// left, as in net/http: TCP cannot tell the two apart.
package http1
