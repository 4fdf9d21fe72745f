package http1

import (
	"errors"
	"strconv"
)

// refuse answers a request that cannot be served, and ends the connection.
func (c *serverConn) refuse(err error) error {
	var b *BadRequestError
	if !errors.As(err, &b) {
		return err
	}
	if c.srv.OnBad != nil {
		c.srv.OnBad(c.info, b)
	}
	c.out.take()
	body := b.Reason + "\n"
	head, herr := appendStatusLine(c.out.buf, b.Status, "", false)
	if herr != nil {
		return herr
	}
	head = appendField(head, "Content-Type", "text/plain; charset=utf-8")
	head = appendField(head, "Content-Length", strconv.Itoa(len(body)))
	head = appendField(head, "Connection", "close")
	c.out.buf = append(append(head, "\r\n"...), body...)
	_ = c.out.flush() // the client's loss: it is being refused
	c.linger = true
	c.closeWrite()
	return err
}
