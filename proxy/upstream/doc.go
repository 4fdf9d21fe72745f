// Package upstream keeps connections to upstreams: it dials, shakes hands,
// pools, and picks the protocol. It decides nothing about exchanges: it follows
// no redirect, decodes no body, and sends what it is given.
//
// The upstream's protocol mirrors the client's. A request that came as HTTP/1.x
// goes out as HTTP/1.1; one that came as HTTP/2 goes out as HTTP/2 where the
// server takes it (negotiated by TLS, or by trying on cleartext), else it is
// translated.
package upstream
