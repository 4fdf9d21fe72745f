package sock

import "net"

// Of finds the Conn below nc, whatever was made of it, as *tls.Conn is; nil where
// there is none.
func Of(nc net.Conn) *Conn {
	for nc != nil {
		if c, ok := nc.(*Conn); ok {
			return c
		}
		below, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		nc = below.NetConn()
	}
	return nil
}

// Reset ends nc with RST: no FIN, no close_notify, and what is still in the kernel's
// send buffer is lost. A connection without TCP below is just closed.
func Reset(nc net.Conn) {
	for below := nc; below != nil; {
		switch c := below.(type) {
		case *Conn:
			c.Reset() // not the TCP connection itself: see Each
			return
		case *net.TCPConn:
			_ = c.SetLinger(0)
			_ = c.Close()
			return
		case interface{ NetConn() net.Conn }:
			below = c.NetConn()
		default:
			_ = below.Close()
			return
		}
	}
	_ = nc.Close()
}
