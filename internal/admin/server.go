package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Options for New. Sources that are nil answer as if the run had nothing of
// their kind. All functions are called from many goroutines.
type Options struct {
	Addr        string   // host:port to listen on; port 0 picks a free one
	AllowRemote bool     // Addr may be other than loopback
	Hosts       []string // further names that the Host field may give
	Token       string   // 16 characters or more of printable ASCII; see NewToken
	OpenMetrics bool     // /metrics asks for no token

	Metrics   http.Handler
	Ready     func() error // why the run does not serve yet or any more; nil when it does
	Status    func() Status
	Ledger    func() any // anything that encodes as a JSON object
	Exchanges *Ring[Exchange]
	Misses    *Ring[Miss]
	Rules     Rules
	Link      func() Link
	// ResetScenarios puts all scenarios back to their first state and returns
	// how many there are.
	ResetScenarios func() int
	Log            *zap.Logger // nil for silence
}

// Server is the admin API on its open socket.
type Server struct {
	http     *http.Server
	listener net.Listener
}

// New opens the socket, so that Addr is known; nothing is answered before Run.
// Run closes it, and Close where Run is never called.
func New(o Options) (*Server, error) {
	if err := checkToken(o.Token); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	host, _, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("admin: listen on %s: %w", o.Addr, err)
	}
	if !o.AllowRemote && !isLoopback(host) {
		return nil, fmt.Errorf("admin: listen on %s: other machines could reach it; set admin.allow_remote to allow that", o.Addr)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	listener, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return &Server{
		listener: listener,
		http: &http.Server{
			Handler:           newHandler(o, host),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          log.New(logWriter{o.Log}, "", 0),
		},
	}, nil
}

// isLoopback takes the name localhost at its word, as everyone does.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Addr is the address it listens on, with the port that was picked.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL is where a tool on this machine finds the API.
func (s *Server) URL() string { return "http://" + s.Addr().String() }

// Close closes the socket of a server that was never run.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves until ctx is done, gives requests under way a moment to end, and
// returns when all it started has ended. It returns nil when ctx ended it.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }() // owned by Run: ended by Shutdown or Close below
	select {
	case err := <-served:
		_ = s.http.Close()
		return fmt.Errorf("admin: serve %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if s.http.Shutdown(grace) != nil {
		_ = s.http.Close() // who is still there after the grace is cut off
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: serve %s: %w", s.Addr(), err)
	}
	return nil
}

// logWriter takes net/http's own complaints, which are about clients.
type logWriter struct{ log *zap.Logger }

var _ io.Writer = logWriter{}

// Write logs one line.
func (w logWriter) Write(p []byte) (int, error) {
	if e := w.log.Check(zap.DebugLevel, "admin"); e != nil {
		e.Write(zap.String("detail", strings.TrimSpace(string(p))))
	}
	return len(p), nil
}
