package client

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestClient_RequestsThatMakeASweepGetTheTimeForOne(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		timeout time.Duration
		verb    string
		want    time.Duration
	}{
		{time.Second, wire.VerbGet, time.Second},
		{time.Second, wire.VerbHealthReport, time.Second},
		{time.Second, wire.VerbHealthCheck, sweepTimeout},
		{time.Second, wire.VerbHealthRepair, sweepTimeout},
		{time.Hour, wire.VerbHealthCheck, time.Hour},
	} {
		c, err := New(new(nats.Conn), WithTimeout(tt.timeout))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.timeoutOf(tt.verb); got != tt.want {
			t.Errorf("a %s with a timeout of %s gets %s, want %s", tt.verb, tt.timeout, got, tt.want)
		}
	}
}
