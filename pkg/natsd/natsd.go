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
	// host is every interface. A host that other machines can reach needs a
	// user and password, or a token. Required.
	Addr string
	// DataDir is where JetStream keeps its stores. It is created if missing,
	// and locked: a second server on it is refused. Required.
	DataDir string
	// User and Password, or Token, are what every client must give. Empty:
	// clients are not asked who they are.
	User, Password, Token string
	// Log gets the server's warnings and errors. The zero value drops them.
	Log zerolog.Logger
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	host, _, err := c.split()
	if err == nil && !loopback(host) && !c.Authenticates() {
		err = fmt.Errorf("%s %q: other machines can reach it, so clients must say who they are: "+
			"set NATS_USER and NATS_PASSWORD, or NATS_TOKEN, or listen on 127.0.0.1", EnvAddr, c.Addr)
	}
	if c.DataDir == "" {
		err = errors.Join(err, fmt.Errorf("%s: empty: want a data directory", EnvDataDir))
	}
	switch {
	case (c.User == "") != (c.Password == ""):
		err = errors.Join(err, errors.New("NATS_USER and NATS_PASSWORD: want both or neither"))
	case c.User != "" && c.Token != "":
		err = errors.Join(err, errors.New("NATS_USER and NATS_TOKEN: want one of them, not both"))
	}
	return err
}

// Authenticates reports whether clients must say who they are.
func (c Config) Authenticates() bool { return c.Password != "" || c.Token != "" }

// loopback reports whether only this machine reaches a listener on host. A name
// other than localhost may resolve to any address.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
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
		return nil, err // each line names its variable
	}
	host, port, err := cfg.split()
	if err != nil {
		return nil, err
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
	unlock, err := lock(s.cfg.DataDir, s.cfg.Addr)
	if err != nil {
		return err
	}
	return errors.Join(s.run(ctx), unlock())
}

// run is Run with the data directory locked.
func (s *Server) run(ctx context.Context) error {
	srv, err := server.NewServer(&server.Options{
		ServerName: "sluice-standalone",
		Host:       s.host, Port: s.serverPort(),
		Username: s.cfg.User, Password: s.cfg.Password, Authorization: s.cfg.Token,
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
