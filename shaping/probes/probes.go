package probes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/understudy-proxy/understudy/shaping"
	"github.com/understudy-proxy/understudy/shaping/verify"
)

// End is one end of a link: a raw socket for ICMP that was made there, and its own
// address. The socket tells when packets came (SO_TIMESTAMPNS) and how many it could not
// hold (SO_RXQ_OVFL), where the system can.
type End struct {
	Socket  *os.File // stays the caller's; Run uses a copy
	Address netip.Addr
}

// Run sends what the plans say, the small packets of both directions at the same time and
// then the trains, and returns what came of it. What down sends comes down,
// to the end up. token is not to be that of another run. It returns early with ctx's error.
func Run(ctx context.Context, down, up End, plans map[shaping.Direction]verify.Plan, token uint64) (map[shaping.Direction]verify.Samples, error) {
	var conns [2]*net.IPConn
	for i, e := range []End{down, up} {
		c, err := net.FilePacketConn(e.Socket)
		if err != nil {
			return nil, fmt.Errorf("probe the link: %w", err)
		}
		defer func() { _ = c.Close() }()
		ip, ok := c.(*net.IPConn)
		if !ok {
			return nil, errors.New("probe the link: the socket is not a raw one")
		}
		conns[i] = ip
	}
	var reading sync.WaitGroup
	ways := []*way{
		newWay(shaping.Down, conns[0], conns[1], up.Address, plans[shaping.Down], 2*token),
		newWay(shaping.Up, conns[1], conns[0], down.Address, plans[shaping.Up], 2*token+1),
	}
	for _, w := range ways {
		reading.Go(w.read) // ends with the deadline below
	}
	err := send(ctx, ways)
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
	reading.Wait()
	if err != nil {
		return nil, fmt.Errorf("probe the link: %w", err)
	}
	all := map[shaping.Direction]verify.Samples{}
	for _, w := range ways {
		all[w.direction] = w.samples()
	}
	return all, nil
}

func send(ctx context.Context, ways []*way) error {
	var small errgroup.Group
	for _, w := range ways {
		small.Go(func() error { // ends with the plan, or ctx
			if err := w.sendProbes(ctx); err != nil {
				return err
			}
			return w.await(ctx, func() bool { return w.came == w.sentProbes })
		})
	}
	if err := small.Wait(); err != nil {
		return err
	}
	// Fast trains want all of the machine.
	both := errgroup.Group{}
	for _, w := range ways {
		if w.plan.TrainEvery < slowTrain {
			both.SetLimit(1)
		}
	}
	for _, w := range ways {
		both.Go(func() error { // ends with the plan, or ctx
			if err := w.sendTrain(ctx); err != nil {
				return err
			}
			return w.await(ctx, func() bool { return len(w.train) >= w.sentTrain })
		})
	}
	return both.Wait()
}

// slowTrain is how far apart packets are in a train that goes beside another.
const slowTrain = 200 * time.Microsecond

// way is one direction: what was sent, and what came.
type way struct {
	direction shaping.Direction
	from, to  *net.IPConn
	address   *net.IPAddr // where it goes
	plan      verify.Plan
	token     uint64

	// Of the sender.
	sentAt     []int64 // by the number of a small packet, ns of the system's clock
	sentProbes int
	over       time.Duration
	sentTrain  int
	trainOver  time.Duration

	news   chan struct{} // has one when a packet has come
	mu     sync.Mutex    // guards what follows
	cameAt []int64       // likewise; 0 for what has not
	came   int
	train  []verify.Arrival
	missed uint32
}

func newWay(d shaping.Direction, from, to *net.IPConn, address netip.Addr, plan verify.Plan, token uint64) *way {
	return &way{
		direction: d, from: from, to: to, address: &net.IPAddr{IP: address.AsSlice()}, plan: plan, token: token,
		sentAt: make([]int64, plan.Probes), cameAt: make([]int64, plan.Probes), news: make(chan struct{}, 1),
	}
}

// put sends one packet; false where the system has no memory for it just now.
func (w *way) put(b []byte) (bool, error) {
	_, err := w.from.WriteToIP(b, w.address)
	if errors.Is(err, syscall.ENOBUFS) {
		return false, nil
	}
	return err == nil, err
}

// sendProbes sends the small packets. It does not make up for what it is late: packets in
// a bunch would wait for each other. On a machine that is busy it ends after twice the
// time, with fewer.
func (w *way) sendProbes(ctx context.Context) error {
	b := make([]byte, verify.ProbeSize-ipHeader)
	tick := time.NewTicker(w.plan.Every)
	defer tick.Stop()
	start := time.Now()
	for n := 0; n < w.plan.Probes; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		packet{w.token, false, uint32(n)}.encode(b)
		w.sentAt[n] = time.Now().UnixNano()
		sent, err := w.put(b)
		if err != nil {
			return err
		}
		if sent {
			n++
			w.mu.Lock()
			w.sentProbes = n
			w.mu.Unlock()
		}
		w.over = time.Since(start)
		if w.over > 2*time.Duration(w.plan.Probes)*w.plan.Every {
			break
		}
	}
	return nil
}

// sendTrain sends the large packets, and makes up for what it is late: they are to wait
// for each other.
func (w *way) sendTrain(ctx context.Context) error {
	if w.plan.Train == 0 {
		return nil
	}
	b := make([]byte, w.plan.TrainSize-ipHeader)
	timer := time.NewTimer(0)
	defer timer.Stop()
	start := time.Now()
	for n := range w.plan.Train {
		if ahead := time.Duration(n)*w.plan.TrainEvery - time.Since(start); ahead > 0 {
			timer.Reset(ahead)
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-timer.C:
			}
		}
		packet{w.token, true, uint32(n)}.encode(b)
		sent, err := w.put(b)
		if err != nil {
			return err
		}
		if sent {
			w.sentTrain++
		}
	}
	w.trainOver = time.Since(start)
	return nil
}

// await waits until all have come, or may no longer.
func (w *way) await(ctx context.Context, all func() bool) error {
	over := time.NewTimer(w.plan.Wait)
	defer over.Stop()
	for {
		w.mu.Lock()
		done := all()
		w.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-over.C:
			return nil
		case <-w.news:
		}
	}
}

// read takes what comes to the far end until its deadline.
func (w *way) read() {
	b, oob := make([]byte, 1<<16), make([]byte, 256)
	for {
		n, oobn, _, _, err := w.to.ReadMsgIP(b, oob)
		if err != nil {
			return
		}
		p, size, ok := decode(b[:n])
		if !ok || p.token != w.token {
			continue
		}
		at, missed := stamped(oob[:oobn])
		w.mu.Lock()
		w.missed = max(w.missed, missed)
		switch {
		case p.train:
			w.train = append(w.train, verify.Arrival{At: time.Duration(at), Size: size})
		case int(p.number) < len(w.cameAt) && w.cameAt[p.number] == 0:
			w.cameAt[p.number] = at
			w.came++
		}
		w.mu.Unlock()
		select {
		case w.news <- struct{}{}:
		default: // it will look in any case
		}
	}
}

func (w *way) samples() verify.Samples {
	s := verify.Samples{Sent: w.sentProbes, Over: w.over, Train: w.train, TrainSent: w.sentTrain, TrainOver: w.trainOver, Missed: int(w.missed)}
	for n, at := range w.cameAt[:w.sentProbes] {
		if at != 0 {
			s.Delays = append(s.Delays, time.Duration(at-w.sentAt[n]))
		}
	}
	return s
}
