package redirect

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"sync"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Lease is rules in force. They end with Close, and with this process however it
// ends: the kernel takes a table away with the socket that owns it (Linux 5.12).
// On older kernels the next Install in the same network namespace does.
type Lease struct {
	Table   string // its name
	Kernel  bool   // the kernel itself takes the rules away
	once    sync.Once
	conn    *nftables.Conn
	table   *nftables.Table
	holding net.Listener
	err     error
}

// Install puts the rules in force and removes what earlier runs left behind.
func (r Rules) Install() (*Lease, error) { return r.install(ownedTable) }

func (r Rules) install(own func(*netlink.Conn, string) error) (_ *Lease, err error) {
	l := &Lease{}
	defer func() {
		if err != nil {
			err = explain(err)
			_ = l.Close()
		}
	}()
	if l.holding, l.Table, err = hold(); err != nil {
		return nil, err
	}
	var socket *netlink.Conn
	l.conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		socket = c
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	if err := sweep(l.conn); err != nil {
		return nil, err
	}
	l.table = &nftables.Table{Name: l.Table, Family: nftables.TableFamilyINet}
	switch err := own(socket, l.Table); {
	case err == nil:
		l.Kernel = true
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP): // it does not know of owners
		l.conn.AddTable(l.table)
	default:
		return nil, fmt.Errorf("nftables: table %s: %w", l.Table, err)
	}
	r.write(l.conn, l.table)
	return l, flush(l.conn, "rules of redirection")
}

// Close takes the rules away. What is connected stays so. It may be called twice.
func (l *Lease) Close() error {
	l.once.Do(func() {
		if l.table != nil {
			l.conn.DelTable(l.table)
			l.err = flush(l.conn, "remove "+l.Table)
		}
		if l.conn != nil {
			l.err = errors.Join(l.err, l.conn.CloseLasting())
		}
		if l.holding != nil {
			l.err = errors.Join(l.err, l.holding.Close())
		}
	})
	return l.err
}

// Leave puts the rules in force for as long as the network namespace lasts, in
// place of those that it left there before: for a container that prepares the
// way for another.
func (r Rules) Leave() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	table := kept(conn)
	conn.AddTable(table)
	r.write(conn, table)
	return explain(flush(conn, "rules of redirection"))
}

// Remove takes away what Leave left. It is no error if there is nothing.
func Remove() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	kept(conn)
	return explain(flush(conn, "remove "+Kept))
}

// kept removes the kept table within the transaction; to be removed it must be there.
func kept(conn *nftables.Conn) *nftables.Table {
	table := conn.AddTable(&nftables.Table{Name: Kept, Family: nftables.TableFamilyINet})
	conn.DelTable(table)
	return table
}

// hold takes a name for a table and holds it by an abstract socket, which is the
// network namespace's as the table is, and ends with this process. A process id
// alone would tell nothing to a process in another container.
func hold() (net.Listener, string, error) {
	for n := 1; ; n++ {
		name := fmt.Sprintf("understudy-%d", os.Getpid())
		if n > 1 {
			name = fmt.Sprintf("%s-%d", name, n)
		}
		l, err := net.Listen("unix", "@"+name)
		switch {
		case err == nil:
			return l, name, nil
		case !errors.Is(err, unix.EADDRINUSE) || n == 1000:
			return nil, "", fmt.Errorf("hold %s: %w", name, err)
		}
	}
}

// held are the names that hold gives.
var held = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^understudy-\d+(-\d+)?$`) })

// sweep removes tables whose process has ended without the kernel's removing them.
func sweep(conn *nftables.Conn) error {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return fmt.Errorf("nftables: list tables: %w", err)
	}
	for _, t := range tables {
		if !held().MatchString(t.Name) {
			continue
		}
		l, err := net.Listen("unix", "@"+t.Name)
		if err != nil {
			continue // its process lives
		}
		conn.DelTable(t)
		err = flush(conn, "remove "+t.Name+", which an earlier run left behind")
		_ = l.Close()
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// explain adds the remedy to what the kernel refuses.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w\nhint: CAP_NET_ADMIN is needed: run as root, or let another set the rules (docs/sidecar.md)", err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("%w\nhint: the kernel lacks nf_tables with NAT for both families (Linux 5.2): sudo modprobe -a nf_tables nft_chain_nat nft_redir nft_fib_inet", err)
	}
	return err
}
