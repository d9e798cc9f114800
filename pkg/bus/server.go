package bus

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// The oldest nats-server that has what Sluice needs: 2.11 has the traces that
// tell whether anybody listens.
const (
	minMajor = 2
	minMinor = 11
)

// checkVersion reports that the server of nc is too old. One that does not say
// its version is not refused.
func checkVersion(nc *nats.Conn) error {
	version := nc.ConnectedServerVersion()
	var major, minor int
	if n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor); n != 2 {
		return nil
	}
	if major > minMajor || major == minMajor && minor >= minMinor {
		return nil
	}
	return fmt.Errorf("%s is nats-server %s: want %d.%d or later", Server(nc), version, minMajor, minMinor)
}

// Server is the server that nc is connected to, for people: without what says
// who we are.
func Server(nc *nats.Conn) string {
	u, err := url.Parse(nc.ConnectedUrl())
	if err != nil {
		return ""
	}
	return redacted(u)
}

// Servers is every server that nc knows, likewise.
func Servers(nc *nats.Conn) string { return strings.Join(nc.Servers(), ", ") }

// Trouble says why nc cannot be worked with, "" where it can.
func Trouble(nc *nats.Conn) string {
	if status := nc.Status(); status != nats.CONNECTED {
		why := strings.ToLower(status.String())
		if err := nc.LastError(); err != nil {
			why += ", " + err.Error()
		}
		return fmt.Sprintf("not connected to NATS at %s: %s", Servers(nc), why)
	}
	if err := checkVersion(nc); err != nil {
		return err.Error()
	}
	return ""
}

// Check is a readiness check, as package service has them.
type Check interface {
	OK()
	Fail(reason string)
}

// lookAgain is how often Follow asks why a connection is still away.
const lookAgain = time.Second

// Follow keeps check true to the state of nc until ctx ends. Each time the
// connection is there it calls connected as well, if that is not nil.
func Follow(ctx context.Context, nc *nats.Conn, check Check, connected func()) {
	changes := nc.StatusChanged()
	defer nc.RemoveStatusListener(changes)
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for changed := true; ; {
		if why := Trouble(nc); why != "" {
			check.Fail(why)
		} else {
			check.OK()
			if changed && connected != nil {
				connected()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			changed = false
		case _, open := <-changes:
			if !open { // so is the connection, for good
				changes = nil
			}
			changed = true
		}
	}
}
