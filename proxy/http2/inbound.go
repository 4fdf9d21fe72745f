package http2

import (
	"time"

	xhttp2 "golang.org/x/net/http2"
)

// What is done about the frames a client sends, but for HEADERS.

func (c *conn) onSettings(f *xhttp2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := f.ForeachSetting(func(s xhttp2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case xhttp2.SettingHeaderTableSize:
			c.henc.SetMaxDynamicTableSize(min(s.Val, 4096))
		case xhttp2.SettingInitialWindowSize:
			delta := int64(s.Val) - c.sendInit
			c.sendInit = int64(s.Val)
			for _, st := range c.streams {
				if st.sendWindow += delta; st.sendWindow > maxWindow {
					return xhttp2.ConnectionError(xhttp2.ErrCodeFlowControl)
				}
				st.wake.Broadcast()
			}
		case xhttp2.SettingMaxFrameSize:
			c.peerFrame = s.Val
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.out = appendSettingsAck(c.out)
	return c.controlFits()
}

func (c *conn) onPing(f *xhttp2.PingFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.IsAck() {
		if f.Data == drainPing {
			c.drainSeen()
		}
		return nil
	}
	c.out = appendPing(c.out, true, f.Data)
	return c.controlFits()
}

// controlFits guards against a client that asks and does not read. mu is held.
func (c *conn) controlFits() error {
	if len(c.out) > outFlood {
		return &ProtocolError{Code: uint32(xhttp2.ErrCodeEnhanceYourCalm), Reason: "answers to control frames are not read"}
	}
	return nil
}

func (c *conn) onWindowUpdate(f *xhttp2.WindowUpdateFrame, at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Large increments are bounded by the window's size; small ones must be
	// earned by DATA or paid for.
	switch {
	case f.Increment >= 1024:
	case c.sentData > 0:
		c.sentData--
	case !c.calm(at):
		return &ProtocolError{Code: uint32(xhttp2.ErrCodeEnhanceYourCalm), Reason: "too many WINDOW_UPDATE frames"}
	}
	if f.StreamID == 0 {
		if c.sendConn += int64(f.Increment); c.sendConn > maxWindow {
			return xhttp2.ConnectionError(xhttp2.ErrCodeFlowControl)
		}
		for _, st := range c.streams {
			if st.waiting {
				st.wake.Broadcast()
			}
		}
		return nil
	}
	st := c.streams[f.StreamID]
	if st == nil {
		return c.idleCheck(f.StreamID, "WINDOW_UPDATE")
	}
	if st.sendWindow += int64(f.Increment); st.sendWindow > maxWindow {
		return &ProtocolError{Stream: f.StreamID, Code: uint32(xhttp2.ErrCodeFlowControl), Reason: "window over 2^31-1"}
	}
	st.wake.Broadcast()
	return nil
}

// idleCheck refuses a frame for a stream that was never opened; for one that is
// over it is nil. mu is held.
func (c *conn) idleCheck(id uint32, what string) error {
	if id%2 == 0 || id > c.lastID {
		return &ProtocolError{Code: uint32(xhttp2.ErrCodeProtocol), Reason: what + " on an idle stream"}
	}
	return nil
}

func (c *conn) onReset(f *xhttp2.RSTStreamFrame, at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.streams[f.StreamID]
	if st == nil {
		if err := c.idleCheck(f.StreamID, "RST_STREAM"); err != nil {
			return err
		}
		if !c.calm(at) {
			return &ProtocolError{Code: uint32(xhttp2.ErrCodeEnhanceYourCalm), Reason: "too many RST_STREAM frames"}
		}
		return nil
	}
	c.closeStream(st, errReset)
	if !c.resets.take(at, resetBurst, resetPerSecond) {
		return &ProtocolError{Code: uint32(xhttp2.ErrCodeEnhanceYourCalm), Reason: "too many streams reset"}
	}
	return nil
}

func (c *conn) onData(f *xhttp2.DataFrame, at time.Time) error {
	size := int64(f.Length) // padding counts (RFC 9113, 6.1)
	data := f.Data()
	c.mu.Lock()
	defer c.mu.Unlock()
	if size > c.recvConn {
		return xhttp2.ConnectionError(xhttp2.ErrCodeFlowControl)
	}
	c.recvConn -= size
	if len(data) == 0 && !f.StreamEnded() && !c.calm(at) {
		return &ProtocolError{Code: uint32(xhttp2.ErrCodeEnhanceYourCalm), Reason: "too many empty DATA frames"}
	}
	st := c.streams[f.StreamID]
	if st == nil || st.remoteDone {
		c.giveBack(size)
		if err := c.idleCheck(f.StreamID, "DATA"); err != nil {
			return err
		}
		if st == nil && c.buried.has(f.StreamID) {
			return nil // it was under way when we reset the stream
		}
		if !c.calm(at) {
			return &ProtocolError{Code: uint32(xhttp2.ErrCodeEnhanceYourCalm), Reason: "too much DATA on closed streams"}
		}
		return &ProtocolError{Stream: f.StreamID, Code: uint32(xhttp2.ErrCodeStreamClosed), Reason: "DATA on a closed stream"}
	}
	if size > st.recvWindow {
		c.giveBack(size)
		return &ProtocolError{Stream: f.StreamID, Code: uint32(xhttp2.ErrCodeFlowControl), Reason: "DATA beyond the window"}
	}
	st.recvWindow -= size
	st.got += int64(len(data))
	if st.declared >= 0 && (st.got > st.declared || f.StreamEnded() && st.got != st.declared) {
		c.giveBack(size)
		return &ProtocolError{Stream: f.StreamID, Code: uint32(xhttp2.ErrCodeProtocol), Reason: "DATA does not agree with content-length"}
	}
	if st.unread {
		st.lost = st.lost || len(data) > 0
		c.giveBack(size)
		if f.StreamEnded() {
			c.remoteEnd(st)
			st.wake.Broadcast()
		}
		return nil
	}
	if pad := size - int64(len(data)); pad > 0 {
		c.giveBack(pad)
		st.giveBack(pad)
	}
	st.body.push(data)
	if f.StreamEnded() {
		c.remoteEnd(st)
	}
	st.wake.Broadcast()
	return nil
}

// giveBack lets the client send n more bytes on the connection, in steps of a
// quarter of the window. mu is held.
func (c *conn) giveBack(n int64) {
	if c.recvOwed += n; c.recvOwed >= connWindow/4 {
		c.out = appendWindowUpdate(c.out, 0, uint32(c.recvOwed))
		c.recvConn += c.recvOwed
		c.recvOwed = 0
	}
}
