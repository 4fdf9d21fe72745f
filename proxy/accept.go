package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/understudy-proxy/understudy/fixtures"
	"github.com/understudy-proxy/understudy/proxy/sock"
	"github.com/understudy-proxy/understudy/proxy/wire"
)

// serve accepts until ctx ends, then waits for the connections.
func (s *Server) serve(ctx context.Context, ln net.Listener, d *site) error {
	d.Server, d.addr, d.log = s, ln.Addr(), s.Log
	if d.log == nil {
		d.log = zap.NewNop()
	}
	s.enter(d)
	defer s.leave(d)
	var open connSet
	defer open.wait(s.Grace, func() { s.Pipeline.cutOff(d.log, d.name) })
	defer ln.Close()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	for pause := 5 * time.Millisecond; ; {
		nc, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = nc.Close()
			}
			return nil
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED):
			d.log.Warn("accept", zap.String("door", d.name), zap.Error(err))
			select { // a descriptor may come free
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, time.Second)
			continue
		case err != nil:
			return fmt.Errorf("accept on %s: %w", d.name, err)
		}
		pause = 5 * time.Millisecond
		nc = sock.Wrap(nc)
		open.add(nc)
		go func() { // owned by this loop: open.wait
			defer open.remove(nc)
			d.take(ctx, nc)
		}()
	}
}

// connSet are the connections of a door.
type connSet struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	left  sync.WaitGroup
}

func (o *connSet) add(nc net.Conn) {
	o.left.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conns == nil {
		o.conns = map[net.Conn]struct{}{}
	}
	o.conns[nc] = struct{}{}
}

func (o *connSet) remove(nc net.Conn) {
	o.mu.Lock()
	delete(o.conns, nc)
	o.mu.Unlock()
	o.left.Done()
}

// wait returns when all connections have ended; those that outlast grace are closed, which
// cut is told of first.
func (o *connSet) wait(grace time.Duration, cut func()) {
	if grace == 0 {
		grace = 10 * time.Second
	}
	timer := time.AfterFunc(grace, func() {
		cut()
		o.mu.Lock()
		defer o.mu.Unlock()
		for nc := range o.conns {
			_ = nc.Close()
		}
	})
	defer timer.Stop()
	o.left.Wait()
}

// take serves one connection and accounts for it.
func (d *site) take(ctx context.Context, nc net.Conn) {
	s := &session{site: d, life: ctx, conn: wire.Conn{
		ID: d.ids.Add(1), Door: d.name, Client: nc.RemoteAddr(), From: hostOf(nc.RemoteAddr()), Local: nc.LocalAddr(), At: time.Now(),
	}}
	if below := sock.Of(nc); below != nil {
		s.conn.Exact = below.Stamp
		if d.Pipeline != nil && d.Pipeline.waits.Load() {
			below.Stamp()
		}
	}
	if d.Observer != nil {
		d.Observer.ConnOpened(&s.conn)
	}
	defer func() {
		if p := recover(); p != nil { // one connection's fault must not end the others
			s.log.Error("panic in a connection", zap.Any("panic", p), zap.Stack("stack"), zap.String("door", d.name))
			s.drop(fmt.Sprintf("internal error: %v", p))
			_ = nc.Close()
		}
		if s.end.Fate == "" {
			s.drop("closed before a request")
		}
		if d.Observer != nil {
			d.Observer.ConnClosed(&s.conn, s.end)
		}
	}()
	to, err := d.leadsTo(nc)
	if err != nil {
		s.drop(err.Error())
		s.log.Warn("whom a connection was for is not known", zap.String("door", d.name), zap.Error(err))
		sock.Reset(nc)
		return
	}
	if s.refuses(to.Host) == fixtures.RefuseConnection {
		s.refused(to.Host, protoNothing)
		sock.Reset(nc)
		return
	}
	s.loop = d.leadsToItself()
	switch {
	case d.found != nil:
		s.transparent(ctx, nc, to)
	case d.raw == "":
		s.speak(ctx, nc, 0)
	case s.loop:
		s.dropLoop()
		sock.Reset(nc)
	default:
		s.pass(ctx, nc, d.raw, protoNothing)
	}
}

// leadsTo is whom a connection is for, as far as the door knows: "" where each
// request brings its own.
func (d *site) leadsTo(nc net.Conn) (Meant, error) {
	switch {
	case d.found != nil:
		return d.found(nc)
	case d.to != nil:
		return Meant{Host: d.to.Host}, nil
	}
	return Meant{Host: d.raw}, nil
}

// refuses asks the rules whether the connection may go on to host. What they
// once refused stays refused: a rule is asked once.
func (s *session) refuses(host string) fixtures.Refusal {
	if s.Planner != nil && s.refusal != fixtures.RefuseConnection {
		if refusal, rule := s.Planner.Door(&s.conn, host); refusal != fixtures.RefuseNone {
			s.refusal, s.rule = refusal, rule
		}
	}
	return s.refusal
}

// refused notes that a rule refused the connection.
func (s *session) refused(host string, p protocol) {
	s.end = ConnEnd{Fate: ConnRefused, Reason: "rule " + s.rule, Rule: s.rule, Host: host, Protocol: string(p)}
}

// drop notes that the connection could not be served.
func (s *session) drop(reason string) {
	s.end.Fate, s.end.Reason = ConnDropped, reason
	if s.end.Host == "" {
		s.end.Host = s.conn.Host
	}
}
