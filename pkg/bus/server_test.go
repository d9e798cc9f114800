package bus_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/natstest"
)

// pretend listens as a nats-server of some version that answers pings only, until
// the test ends.
func pretend(t *testing.T, version string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(func() { _ = l.Close() })
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = c.Close() }()
				_, _ = fmt.Fprintf(c, "INFO {\"server_id\":\"x\",\"version\":%q,\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n", version)
				for lines := bufio.NewScanner(c); lines.Scan(); {
					if strings.HasPrefix(lines.Text(), "PING") {
						_, _ = c.Write([]byte("PONG\r\n"))
					}
				}
			})
		}
	})
	return "nats://secret@" + l.Addr().String()
}

func TestAServerThatIsTooOldIsRefusedByName(t *testing.T) {
	t.Parallel()
	for version, old := range map[string]bool{
		"2.10.29": true, "2.9.0": true, "1.4.1": true, "0.0.1": true,
		"2.11.0": false, "2.11.0-RC.1": false, "2.15.2": false, "3.0.0": false, "10.1.0": false, "": false, "dev": false,
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var log logBuffer
			var reason string
			nc, err := bus.Dialer{
				Config: bus.Config{URL: pretend(t, version)}, Name: "tester", Log: zerolog.New(&log),
				Waiting: func(why string) { reason = why; cancel() },
			}.Connect(ctx)
			if err == nil {
				nc.Close()
			}
			if !old {
				if err != nil {
					t.Error(err)
				}
				return
			}
			want := "nats-server " + version + ": want 2.11 or later"
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(reason, want) || log.contains(want) != nil {
				t.Errorf("Connect = %v, told %q, log %v; want %q", err, reason, log.contains(""), want)
			}
			if strings.Contains(reason, "secret") || log.contains("secret") == nil || !strings.Contains(reason, "xxxxx@127.0.0.1") {
				t.Errorf("told %q: want the server without what says who we are", reason)
			}
		})
	}
}

func TestWhyThereIsNoConnectionIsToldWithTheServersAndNoSecret(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var log logBuffer
	var reason string
	_, err := bus.Dialer{
		Config: bus.Config{URL: "nats://token@127.0.0.1:1, 127.0.0.1:2"}, Name: "tester", Log: zerolog.New(&log),
		Waiting: func(why string) { reason = why; cancel() },
	}.Connect(ctx)
	for _, want := range []string{"nats://xxxxx@127.0.0.1:1, nats://127.0.0.1:2", "connection refused"} {
		if !errors.Is(err, nats.ErrNoServers) || !strings.Contains(reason, want) || log.contains(want) != nil {
			t.Errorf("Connect = %v, told %q, log %v; want %q", err, reason, log.contains(""), want)
		}
	}
	if strings.Contains(reason+err.Error(), "token") || log.contains("token") == nil {
		t.Errorf("told %q, error %v: the token shows", reason, err)
	}
}

// check is a readiness check that a test can read.
type check struct {
	mu     sync.Mutex
	reason string
	oks    int
}

func (c *check) OK() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reason = ""
	c.oks++
}

func (c *check) Fail(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reason = reason
}

func (c *check) says(want string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.oks == 0 || !strings.Contains(c.reason, want) || want == "" && c.reason != "" {
		return fmt.Errorf("the check says %q", c.reason)
	}
	return nil
}

func TestACheckFollowsTheConnection(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	nc, err := bus.Connect(t.Context(), bus.Config{URL: s.URL()}, "tester", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var c check
	connected := make(chan struct{}, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		bus.Follow(ctx, nc, &c, func() { connected <- struct{}{} })
	}()
	<-connected
	natstest.Await(t, "the check", func() error { return c.says("") })
	s.Stop()
	natstest.Await(t, "the reason", func() error { return c.says("not connected to NATS at " + s.URL() + ": reconnecting") })
	s.Restart()
	<-connected
	natstest.Await(t, "the check", func() error { return c.says("") })
	nc.Close()
	natstest.Await(t, "the end of it", func() error { return c.says("closed") })
	cancel()
	<-ended
}
