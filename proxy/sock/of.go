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
