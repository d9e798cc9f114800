package natsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// EnvAddr is the environment variable that Config.Addr comes from. Errors
// about the address name it.
const EnvAddr = "SLUICE_NATS_ADDR"

const (
	// readyTimeout bounds a start, recovery of the stores included.
	readyTimeout = 5 * time.Minute
	pollReady    = 100 * time.Millisecond

	// Clients are told to leave, given a moment, then disconnected one by one.
	lameDuckGrace    = 10 * time.Millisecond
	lameDuckDuration = 500 * time.Millisecond
)

// Config of the embedded server.
type Config struct {
	// Addr is host:port to listen on. Port 0 or -1 takes a free one. An empty
	// host is every interface: the server asks no client who it is, so think
	// twice. Required.
	Addr string
	// DataDir is where JetStream keeps its stores. It is created if missing
	// and must belong to one server at a time. Required.
	DataDir string
	// Log gets the server's warnings and errors. The zero value drops them.
	Log zerolog.Logger
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	_, _, err := c.split()
	if c.DataDir == "" {
		err = errors.Join(err, errors.New("data directory: empty"))
	}
	return err
}

func (c Config) split() (host string, port int, err error) {
	host, p, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return "", 0, fmt.Errorf("%s %q: want host:port: %w", EnvAddr, c.Addr, err)
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < -1 || port > 65535 {
		return "", 0, fmt.Errorf("%s %q: want a port of 1 to 65535, or 0 for a free one", EnvAddr, c.Addr)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, port, nil
}

// Server is an embedded nats-server.
type Server struct {
	cfg   Config
	host  string
	port  int
	ready chan struct{}

	mu  sync.Mutex
	url string
}

// New returns a server that is not yet running.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("natsd config: %w", err)
	}
	host, port, err := cfg.split()
	if err != nil {
		return nil, fmt.Errorf("natsd config: %w", err)
	}
	s := &Server{cfg: cfg, host: host, port: port, ready: make(chan struct{})}
	if port > 0 {
		s.url = clientURL(host, port)
	}
	return s, nil
}

// clientURL is where a client on this machine reaches a listener on host.
func clientURL(host string, port int) string {
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "nats://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// Ready is closed once the server takes clients.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// URL is where clients connect. With a port of 0 or -1 it is empty until Ready.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// Run serves until ctx ends, then tells clients to leave, disconnects them
// within half a second and returns when the stores are closed. Whatever uses
// the server should be stopped before, or it cannot drain. Run may be called
// once.
//
// A port that is taken, or a data directory that cannot be used, is an error.
func (s *Server) Run(ctx context.Context) error {
	if err := s.checkPort(ctx); err != nil {
		return err
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "sluice-standalone",
		Host:       s.host, Port: s.serverPort(),
		JetStream: true, StoreDir: s.cfg.DataDir,
		NoSigs:           true,
		LameDuckDuration: lameDuckDuration, LameDuckGracePeriod: lameDuckGrace,
	})
	if err != nil {
		return fmt.Errorf("configure nats-server: %w", err)
	}
	fatal := make(chan error, 1)
	srv.SetLoggerV2(&logBridge{log: s.cfg.Log, fatal: fatal}, false, false, false)

	started := make(chan struct{})
	go func() {
		defer close(started)
		srv.Start()
	}()
	err = s.serve(ctx, srv, fatal)
	srv.Shutdown()
	<-started
	srv.WaitForShutdown()
	return err
}

func (s *Server) serverPort() int {
	if s.port <= 0 {
		return server.RANDOM_PORT
	}
	return s.port
}

// serve waits until the server is ready and then for the end.
func (s *Server) serve(ctx context.Context, srv *server.Server, fatal <-chan error) error {
	if err := s.awaitReady(ctx, srv, fatal); err != nil {
		return err
	}
	if ctx.Err() == nil {
		addr, ok := srv.Addr().(*net.TCPAddr)
		if !ok {
			return errors.New("nats-server has no listener")
		}
		s.mu.Lock()
		s.url = clientURL(s.host, addr.Port)
		s.mu.Unlock()
		close(s.ready)
		s.cfg.Log.Info().Str("url", s.URL()).Str("data_dir", s.cfg.DataDir).Msg("embedded nats-server ready")
	}
	select {
	case <-ctx.Done():
		srv.LameDuckShutdown()
		return nil
	case err := <-fatal:
		return err
	}
}

// awaitReady returns nil when the server is ready or ctx has ended.
func (s *Server) awaitReady(ctx context.Context, srv *server.Server, fatal <-chan error) error {
	deadline := time.NewTimer(readyTimeout)
	defer deadline.Stop()
	for {
		select {
		case err := <-fatal:
			return err
		case <-deadline.C:
			return fmt.Errorf("nats-server on %s not ready after %v", s.cfg.Addr, readyTimeout)
		case <-ctx.Done():
			return nil
		default:
		}
		if srv.ReadyForConnections(pollReady) {
			return nil
		}
	}
}

// checkPort finds a taken port before the server opens its stores.
func (s *Server) checkPort(ctx context.Context) error {
	if s.port <= 0 {
		return nil
	}
	addr := net.JoinHostPort(s.host, strconv.Itoa(s.port))
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	switch {
	case ctx.Err() != nil:
		if err == nil {
			_ = l.Close()
		}
		return nil // Run notices too
	case err != nil:
		return fmt.Errorf("listen on %s for the embedded nats-server: %w (set %s to a free address)", addr, err, EnvAddr)
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("close probe listener on %s: %w", addr, err)
	}
	return nil
}

// logBridge hands the server's warnings and errors to our log, drops its
// chatter, and turns what would end the process into an error of Run.
type logBridge struct {
	log   zerolog.Logger
	fatal chan<- error
}

var _ server.Logger = (*logBridge)(nil)

func (b *logBridge) Noticef(string, ...any) {}
func (b *logBridge) Debugf(string, ...any)  {}
func (b *logBridge) Tracef(string, ...any)  {}

func (b *logBridge) Warnf(format string, v ...any) {
	b.log.Warn().Str("text", fmt.Sprintf(format, v...)).Msg("nats-server warns")
}

func (b *logBridge) Errorf(format string, v ...any) {
	b.log.Error().Str("text", fmt.Sprintf(format, v...)).Msg("nats-server error")
}

func (b *logBridge) Fatalf(format string, v ...any) {
	select {
	case b.fatal <- fmt.Errorf("nats-server: %s", fmt.Sprintf(format, v...)):
	default: // the first one says it
	}
}
