// Package gateway runs a command in namespaces of its own and hands over the
// sockets through which all its traffic comes. It knows nothing of pipelines,
// cassettes or rules, and carries no TCP itself but that of published ports.
//
// The command has a network namespace with one link; at the link's other end a
// second namespace, the gateway's, takes every TCP connection to any address
// and port (TPROXY), answers every DNS question whatever resolver it was sent
// to, and refuses all other UDP at once. The sockets that do so are opened there
// by a shim, this same program executed again, and handed to this process, which
// therefore accepts inside and dials outside. Nothing of the host's network is
// touched, and all of it vanishes with the processes. See docs/capture.md.
package gateway
