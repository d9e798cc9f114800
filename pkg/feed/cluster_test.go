package feed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/natstest"
)

// startCluster starts three servers that know each other.
func startCluster(t *testing.T) map[string]*natstest.Server {
	t.Helper()
	var ports []int
	var routes []*url.URL
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
		if err := l.Close(); err != nil { // the server takes the port
			t.Fatal(err)
		}
	}
	servers := map[string]*natstest.Server{}
	for i, port := range ports {
		name := fmt.Sprintf("n%d", i)
		servers[name] = natstest.Start(t, func(o *server.Options) {
			o.ServerName, o.Routes = name, routes
			o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port}
		})
	}
	return servers
}

func TestTheFeedGoesOnWhenTheServerOfItsConsumerStops(t *testing.T) {
	t.Parallel()
	servers := startCluster(t)
	b := &bed{t: t}
	var err error
	if b.js, err = jetstream.New(servers["n0"].Conn()); err != nil {
		t.Fatal(err)
	}
	natstest.AwaitWithin(t, "the cluster", 100*time.Millisecond, time.Minute, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		b.stream, err = b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"e.>"}, Replicas: 3})
		return err
	})
	b.publish(1, 100)
	tp := b.run(Config{})
	natstest.AwaitWithin(t, "everything", 10*time.Millisecond, time.Minute, func() error { return tp.has(1, 100) })

	c, err := b.stream.Consumer(t.Context(), b.consumers()[0])
	if err != nil {
		t.Fatal(err)
	}
	servers[c.CachedInfo().Cluster.Leader].Stop()
	var last uint64 = 100
	stored := func() error { // an event of which the answer was lost is stored all the same
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ack, err := b.js.PublishMsg(ctx, &nats.Msg{Subject: "e.1"})
		if err != nil {
			return err
		}
		if last = ack.Sequence; last < 110 {
			return errors.New("more")
		}
		return nil
	}
	natstest.AwaitWithin(t, "the stream to take events", 10*time.Millisecond, time.Minute, stored)
	back := time.Now()
	natstest.AwaitWithin(t, "everything again", 10*time.Millisecond, time.Minute, func() error { return tp.has(1, last) })
	t.Logf("read on %v after the stream took events", time.Since(back))
}
