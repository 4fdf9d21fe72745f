// Package http2 speaks HTTP/2: it reads requests from clients as ordered field
// lists, writes answers frame by frame, and sends requests upstream on a
// connection that is handed to it. It decides nothing, dials nothing and keeps
// no pool.
//
// The server side is an engine of its own on top of golang.org/x/net/http2's
// Framer and hpack, because the pipeline needs what http.Handler hides: fields
// in their order, exact RST_STREAM and GOAWAY codes, broken frames, one DATA
// frame per write. The client side adapts the Transport of the same module; the
// order of fields with different names is lost there.
//
// Source: RFC 9113 (HTTP/2), RFC 7541 (HPACK), RFC 9110 (HTTP semantics).
package http2
