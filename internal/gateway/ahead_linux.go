package gateway

import (
	"os"
	"sync"

	"github.com/vishvananda/netlink/nl"

	"github.com/understudy-proxy/understudy/internal/gateway/link"
	"github.com/understudy-proxy/understudy/internal/gateway/nat"
	"github.com/understudy-proxy/understudy/internal/gateway/shim"
)

// ahead is a shim that builds before it is known what is to run.
type ahead struct {
	order shim.Order // what it is to build; begin knows the first part, and begun the rest
	done  chan struct{}

	// What follows is there when done is closed.
	spawned *shim.Spawned
	err     error

	used sync.Once // by tell, or by Close
}

// ordered is the early shim with an order that was guessed, before this program's other
// packages are initialised and its configuration is read; nil for none, or no more.
var ordered *Ahead

func init() {
	if g := shim.Guessed(); g != nil {
		// The package remembers it when first asked, and others that are still to be
		// initialised ask, too, while the order is written.
		_ = nl.NativeEndian()
		ordered = beginWith(orderFor(&Options{}, g.AskOutside, false), shim.TakeEarly(), "", ownStreams)
	}
}

// ownStreams are this process's.
var ownStreams = [3]uintptr{0, 1, 2}

func orderFor(o *Options, asks, probe bool) shim.Order {
	return shim.Order{
		UserNamespace: shim.Powers() != nil, Probe: probe, IPv6: !o.NoIPv6, AskOutside: asks,
		Carry: o.Carry, Between: o.Between, Probes: o.Probes,
	}
}

// begin lets a shim build: the early one, if there is one and it will do.
func begin(o *Options, asks, probe bool) *Ahead {
	order, streams := orderFor(o, asks, probe), ownStreams
	for i, f := range []*os.File{o.Stdin, o.Stdout, o.Stderr} {
		if f != nil {
			streams[i] = f.Fd()
		}
	}
	own := o.Dir == "" && streams == ownStreams
	if a := ordered; a != nil {
		ordered = nil
		if own && a.builds(&order) {
			return a
		}
		a.Close()
	}
	early := shim.TakeEarly()
	if early != nil && !own {
		early.Drop()
		early = nil
	}
	return beginWith(order, early, o.Dir, streams)
}

// builds reports whether the two orders are to build the same, as far as begin knows them.
func (a *ahead) builds(o *shim.Order) bool {
	b := &a.order
	return b.Probe == o.Probe && b.IPv6 == o.IPv6 && b.AskOutside == o.AskOutside &&
		b.Carry == o.Carry && b.Between == o.Between && b.Probes == o.Probes
}

// beginWith gives the order to a shim: the early one, or a new one where that is nil.
func beginWith(order shim.Order, early *shim.Spawned, dir string, streams [3]uintptr) *Ahead {
	a := &Ahead{ahead{done: make(chan struct{}), order: order}}
	go func() { // ends with the shim's execution: tell and Close wait for it
		defer close(a.done)
		a.spawned, a.err = early, nil
		if early == nil {
			a.spawned, a.err = shim.Spawn(dir, streams)
		}
		if a.err == nil {
			a.err = a.begun()
		}
	}()
	return a
}

// begun tells the shim what to build.
func (a *ahead) begun() error {
	s := a.spawned
	a.order.Inherited, a.order.NamespaceFD, a.order.InnerFD = s.Inherited, s.NamespaceFD, s.NamespaceFD+1
	a.order.TimerSlack = s.TimerSlack
	err := fill(&a.order)
	if err == nil {
		err = s.Tell(shim.TellsOrder, a.order.Encode())
	}
	if err != nil {
		s.Drop()
	}
	return err
}

// tell says what is to run. From then on the shim is the caller's.
func (a *ahead) tell(what *shim.Command) error {
	err := os.ErrClosed
	a.used.Do(func() {
		<-a.done
		if err = a.err; err != nil {
			return
		}
		err = a.spawned.Tell(shim.TellsCommand, what.Encode())
		a.spawned.Told()
		if err != nil {
			a.spawned.End()
		}
	})
	return err
}

func (a *ahead) close() {
	a.used.Do(func() {
		<-a.done
		if a.err == nil {
			a.spawned.Drop()
		}
	})
}

// unprepare ends an early shim for which there is no use.
func unprepare() {
	ordered.Close()
	ordered = nil
	if early := shim.TakeEarly(); early != nil {
		early.Drop()
	}
}

// fill writes into the order what is to be sent to the kernel.
func fill(what *shim.Order) error {
	what.LinkInside, what.LinkOutside = linkBatch(link.Inside(what.NamespaceFD)), linkBatch(link.Outside())
	what.LinkState = linkBatch(link.State())
	if what.Carry {
		what.DeviceInside = shim.Device{Name: link.Up, Index: link.Index, Between: link.UpBetween}
		what.DeviceOutside = shim.Device{Name: link.Down, Index: link.Index, Between: link.DownBetween}
		what.LinkBetween = linkBatch(link.Between(what.NamespaceFD, what.InnerFD))
		what.LinkInside, what.LinkOutside = linkBatch(link.CarriedInside()), linkBatch(link.CarriedOutside())
	}
	what.LinkInside6, what.LinkOutside6 = linkBatch(link.Inside6()), linkBatch(link.Outside6())
	what.QueueSubscribed = shim.Batch{Messages: subscribeQueue(nat.Queue)}
	what.Ports = shim.Ports{TCP: nat.PortTCP, Local: nat.PortLocal, LocalDNS: nat.PortLocalDNS}
	what.Mark = nat.MarkOwn
	ipv6 := what.IPv6 && hasIPv6()
	for _, way := range []nat.Asking{nat.AskNative, nat.AskCompat, nat.AskNot} {
		outside, inside, err := nat.Ruleset{IPv6: ipv6, Ask: way}.Batches()
		if err != nil {
			return err
		}
		what.RulesOutside = append(what.RulesOutside, shim.Batch{Messages: outside.Bytes, Last: outside.Last})
		what.RulesInside = append(what.RulesInside, shim.Batch{Messages: inside.Bytes, Last: inside.Last})
	}
	what.LegacyOutside, what.LegacyInside = tables(nat.LegacyOutside()), tables(nat.LegacyInside())
	return nil
}

func tables(l nat.Legacy) (t [2]shim.Table) {
	for i, b := range [][]byte{l.IPv4, l.IPv6} {
		t[i] = shim.Table{Bytes: b, Option: nat.LegacyReplace, Pointer: nat.LegacyPointer}
	}
	return t
}

func linkBatch(b link.Batch) shim.Batch { return shim.Batch{Messages: b.Bytes, Last: b.Last} }
