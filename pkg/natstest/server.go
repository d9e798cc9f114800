package natstest

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startTimeout bounds the start of a server, on a loaded machine too.
const startTimeout = 20 * time.Second

// Server is an embedded nats-server. Its methods fail the test instead of
// returning errors, so they are for the test's own goroutine; URL, Stop and
// Restart may be called while clients are connected.
type Server struct {
	tb   testing.TB
	opts server.Options

	mu  sync.Mutex
	srv *server.Server // nil while stopped
}

// Start runs a server until the test ends. Connections made by Conn are
// closed before it stops, and its store goes with the test's TempDir. Edits
// change its options.
func Start(tb testing.TB, edits ...func(*server.Options)) *Server {
	tb.Helper()
	s := &Server{tb: tb, opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: tb.TempDir(),
		NoSigs: true, NoLog: true,
	}}
	for _, edit := range edits {
		edit(&s.opts)
	}
	tb.Cleanup(s.Stop) // registered after TempDir, so it runs before the removal
	s.start()
	return s
}

// start runs the server and keeps the port it got.
func (s *Server) start() {
	s.tb.Helper()
	deadline := time.Now().Add(startTimeout)
	for {
		srv, err := s.launch()
		if err == nil {
			s.mu.Lock()
			s.srv = srv
			s.opts.Port = srv.Addr().(*net.TCPAddr).Port
			s.mu.Unlock()
			return
		}
		// On a restart somebody else may hold the port for a moment: another
		// test's outgoing connection, for one.
		if time.Now().After(deadline) {
			s.tb.Fatalf("start nats-server: %v", err)
		}
	}
}

func (s *Server) launch() (*server.Server, error) {
	opts := s.opts.Clone()
	opts.NoSigs, opts.NoLog = true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("new nats-server: %w", err)
	}
	go srv.Start()
	if !srv.ReadyForConnections(startTimeout / 4) {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("not ready on port %d after %v", opts.Port, startTimeout/4)
	}
	return srv, nil
}

// URL is where clients connect. It stays the same over Restart.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("nats://127.0.0.1:%d", s.opts.Port)
}

// Conn connects a client that reconnects for as long as the test runs, and
// closes it when the test ends. Options given override the defaults.
func (s *Server) Conn(opts ...nats.Option) *nats.Conn {
	s.tb.Helper()
	return connect(s.tb, s.URL(), opts)
}

func connect(tb testing.TB, url string, opts []nats.Option) *nats.Conn {
	tb.Helper()
	all := append([]nats.Option{
		nats.Name(tb.Name()),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(20 * time.Millisecond),
		nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // the default one prints
	}, opts...)
	nc, err := nats.Connect(url, all...)
	if err != nil {
		tb.Fatalf("connect to %s: %v", url, err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// JetStream returns a JetStream context on a connection of its own.
func (s *Server) JetStream() jetstream.JetStream {
	s.tb.Helper()
	return newJetStream(s.tb, s.Conn())
}

func newJetStream(tb testing.TB, nc *nats.Conn) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatalf("jetstream context: %v", err)
	}
	return js
}

// Stop shuts the server down and waits for it. What JetStream has stored
// stays for Restart. Stopping a stopped server does nothing.
func (s *Server) Stop() {
	s.mu.Lock()
	srv := s.srv
	s.srv = nil
	s.mu.Unlock()
	if srv == nil {
		return
	}
	srv.Shutdown()
	srv.WaitForShutdown()
}

// Restart stops the server if it runs and starts it again on the same port
// and the same store.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Stop()
	s.start()
}
