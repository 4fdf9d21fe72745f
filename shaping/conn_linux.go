package shaping

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// conn talks netlink in one network namespace. It is not for concurrent use.
type conn struct {
	links  *netlink.Handle // nil over a socket that was given
	socket messages        // for what the library cannot say
	pid    uint32          // the socket's
	seq    uint32
}

// netlinkTime bounds each answer: a kernel that does not give one must not hang us.
const netlinkTime = 10 * time.Second

// dial reaches the target, by its socket if it has one.
func (t Target) dial() (*conn, error) {
	if t.Socket != nil {
		return borrow(t.Socket)
	}
	return dial(t.Namespace)
}

// dialNamespace is dial for what takes more than messages over one socket.
func (t Target) dialNamespace() (*conn, error) {
	if t.Socket != nil {
		return nil, fmt.Errorf("%s is reached by a socket alone: %w", t.Interface, errors.ErrUnsupported)
	}
	return dial(t.Namespace)
}

// dial opens sockets in the namespace; nil is the current one.
func dial(namespace *os.File) (*conn, error) {
	ns := netns.None()
	if namespace != nil {
		ns = netns.NsHandle(namespace.Fd())
	}
	links, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	socket, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		links.Close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	c := &conn{links: links, socket: socket}
	tv := unix.NsecToTimeval(int64(netlinkTime))
	err = errors.Join(links.SetSocketTimeout(netlinkTime), socket.SetReceiveTimeout(&tv), socket.SetSendTimeout(&tv))
	if err == nil {
		c.pid, err = prepare(socket.GetFd())
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return c, nil
}

func (c *conn) close() {
	if c.links != nil {
		c.links.Close()
	}
	c.socket.Close()
}

// do sends a request and returns the messages that answer it, and the kernel's
// warnings. The library's own Execute drops warnings of what succeeded.
func (c *conn) do(kind, flags int, data ...nl.NetlinkRequestData) (answers [][]byte, warnings []string, err error) {
	req := nl.NewNetlinkRequest(kind, flags)
	c.seq++
	req.Seq = c.seq
	for _, d := range data {
		req.AddData(d)
	}
	if err := c.socket.Send(req); err != nil {
		return nil, nil, err
	}
	for {
		messages, from, err := c.socket.Receive()
		if err != nil {
			return nil, nil, err
		}
		if from.Pid != nl.PidKernel {
			continue
		}
		for _, m := range messages {
			if m.Header.Seq != c.seq || m.Header.Pid != c.pid {
				continue
			}
			if m.Header.Flags&unix.NLM_F_DUMP_INTR != 0 {
				return nil, nil, netlink.ErrDumpInterrupted
			}
			if m.Header.Type != unix.NLMSG_ERROR && m.Header.Type != unix.NLMSG_DONE {
				answers = append(answers, m.Data)
				continue
			}
			text, err := acknowledged(m)
			if text != "" {
				warnings = append(warnings, text)
			}
			return answers, warnings, err
		}
	}
}

// acknowledged reads an acknowledgement: the kernel's verdict and its words.
// Source: linux/netlink.h, struct nlmsgerr and enum nlmsgerr_attrs.
func acknowledged(m syscall.NetlinkMessage) (text string, err error) {
	if len(m.Data) < 4 {
		return "", nil // the end of a dump
	}
	if code := int32(native.Uint32(m.Data)); code < 0 {
		err = unix.Errno(-code)
	}
	rest := m.Data[4:]
	if m.Header.Type == unix.NLMSG_ERROR && len(rest) >= unix.NLMSG_HDRLEN {
		size := unix.NLMSG_HDRLEN // of the request's head
		if m.Header.Flags&unix.NLM_F_CAPPED == 0 {
			size = int(native.Uint32(rest)+3) &^ 3
		}
		rest = rest[min(size, len(rest)):]
	}
	if m.Header.Flags&unix.NLM_F_ACK_TLVS == 0 {
		return "", err
	}
	_ = eachAttr(rest, func(kind uint16, v []byte) error { // words cut short are no error of ours
		if kind == unix.NLMSGERR_ATTR_MSG {
			text = unix.ByteSliceToString(v)
		}
		return nil
	})
	if err != nil && text != "" {
		return "", fmt.Errorf("%w: the kernel says: %s", err, text)
	}
	return text, err
}

// link finds an interface by name, and says which there are where it is not.
func (c *conn) link(name string) (netlink.Link, error) {
	l, err := c.named(name)
	if errors.Is(err, unix.ENODEV) {
		if all, e := c.all(); e == nil {
			return nil, fmt.Errorf("no such link (there are: %s)", linkNames(all))
		}
	}
	return l, err
}

// named finds an interface by name; unix.ENODEV is that there is none.
func (c *conn) named(name string) (netlink.Link, error) {
	kind := unix.IFLA_IFNAME
	if len(name) >= unix.IFNAMSIZ {
		kind = unix.IFLA_ALT_IFNAME
	}
	answers, _, err := c.do(unix.RTM_GETLINK, unix.NLM_F_ACK, nl.NewIfInfomsg(unix.AF_UNSPEC), nl.NewRtAttr(kind, nl.ZeroTerminated(name)))
	if err != nil {
		return nil, err
	}
	if len(answers) != 1 {
		return nil, fmt.Errorf("link %s: want one answer, got %d", name, len(answers))
	}
	return netlink.LinkDeserialize(nil, answers[0])
}

// all lists the interfaces.
func (c *conn) all() ([]netlink.Link, error) {
	answers, err := retry(func() ([][]byte, error) {
		answers, _, err := c.do(unix.RTM_GETLINK, unix.NLM_F_DUMP, nl.NewIfInfomsg(unix.AF_UNSPEC))
		return answers, err
	})
	if err != nil {
		return nil, err
	}
	links := make([]netlink.Link, len(answers))
	for i, a := range answers {
		if links[i], err = netlink.LinkDeserialize(nil, a); err != nil {
			return nil, err
		}
	}
	return links, nil
}

// setLink sets one number of an interface.
func (c *conn) setLink(index int, kind int, value uint32) error {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	_, _, err := c.do(unix.RTM_SETLINK, unix.NLM_F_ACK, msg, nl.NewRtAttr(kind, nl.Uint32Attr(value)))
	return err
}

// retry repeats a listing while something changes under it.
func retry[T any](list func() (T, error)) (out T, err error) {
	for range 5 {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, err
}

// rawQdisc is a qdisc as the kernel tells it.
type rawQdisc struct {
	kind           string
	handle, parent uint32
	options        []byte // TCA_OPTIONS
	counters       Counters
}

// qdiscs lists an interface's qdiscs in the kernel's words.
func (c *conn) qdiscs(index int) ([]rawQdisc, error) {
	answers, err := retry(func() ([][]byte, error) {
		answers, _, err := c.do(unix.RTM_GETQDISC, unix.NLM_F_DUMP, &nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index)})
		return answers, err
	})
	if err != nil {
		return nil, err
	}
	var all []rawQdisc
	for _, m := range answers {
		tc := nl.DeserializeTcMsg(m)
		if int(tc.Ifindex) != index { // older kernels list all
			continue
		}
		q := rawQdisc{handle: tc.Handle, parent: tc.Parent}
		err := eachAttr(m[tc.Len():], func(kind uint16, v []byte) error {
			switch kind {
			case nl.TCA_KIND:
				q.kind = unix.ByteSliceToString(v)
			case nl.TCA_OPTIONS:
				q.options = v
			case nl.TCA_STATS2:
				return q.counters.decode(v)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("qdisc %s: %w", netlink.HandleStr(tc.Handle), err)
		}
		all = append(all, q)
	}
	return all, nil
}

// setQdisc sends RTM_NEWQDISC and returns the kernel's warnings.
func (c *conn) setQdisc(index int, flags int, q rawQdisc) (warnings []string, err error) {
	data := []nl.NetlinkRequestData{
		&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Handle: q.handle, Parent: q.parent},
		nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(q.kind)),
	}
	if len(q.options) > 0 {
		data = append(data, nl.NewRtAttr(nl.TCA_OPTIONS, q.options))
	}
	_, warnings, err = c.do(unix.RTM_NEWQDISC, unix.NLM_F_ACK|flags, data...)
	return warnings, err
}

// delQdisc removes a qdisc; one that is gone already is no error.
func (c *conn) delQdisc(index int, handle, parent uint32) error {
	_, _, err := c.do(unix.RTM_DELQDISC, unix.NLM_F_ACK, &nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Handle: handle, Parent: parent})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) && handle == 0 {
		return nil
	}
	return err
}
