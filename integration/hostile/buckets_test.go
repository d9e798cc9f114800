package hostile

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// A bucket that is deleted while Sluice runs is made again, and nobody begins
// from the start: whoever holds a pool writes back its place, and epochs go on
// rising.
func TestBuckets_ThatAreDeletedAreMadeAgain(t *testing.T) {
	t.Parallel()
	for _, bucket := range []string{"sluice_sessions", "sluice_pools", "sluice_health", "sluice_replays"} {
		t.Run(bucket, func(t *testing.T) {
			t.Parallel()
			e := harness.New(t)
			e.StartAll()
			e.Start(wire.ServiceEmitter)
			e.Store("EVENTS", "events.>")
			const subs, before, after = 8, 40, 20
			var recorders []*harness.Recorder
			epochs := map[string]uint64{}
			for i := range subs {
				name := fmt.Sprint("s", i)
				recorders = append(recorders, e.Record("to."+name, harness.Ack))
				e.Subscribe(name, client.Spec{
					Store: "EVENTS", Selector: client.Selector{ByStream: []string{wire.AllStreams}},
					Start: client.FromAll(), Deliver: client.Deliver{Subject: "to." + name},
				})
			}
			last := publishEvents(e, before)
			for i := range subs {
				epochs[fmt.Sprint("s", i)] = e.AwaitFloor(fmt.Sprint("s", i), last).Epoch
			}
			if _, err := e.Client.Pause(e.Context(), "s0"); err != nil {
				t.Fatal(err)
			}
			e.AwaitPool("s0", "the pause", func(p *wire.Pool) error { return is(p.State, wire.PoolPaused) })

			if err := e.JS.DeleteKeyValue(e.Context(), bucket); err != nil {
				t.Fatal(err)
			}
			last = publishEvents(e, after)
			e.Await("the bucket", func() error {
				_, err := e.JS.KeyValue(e.Context(), bucket)
				return err
			})
			e.Subscribe("late", client.Spec{
				Store: "EVENTS", Selector: client.Selector{ByStream: []string{wire.AllStreams}},
				Start: client.FromAll(), Deliver: client.Deliver{Subject: "to.late"},
			})
			late := e.Record("to.late", harness.Ack)
			for i := range subs {
				name := fmt.Sprint("s", i)
				if i == 0 {
					e.AwaitPool(name, "the place of a paused pool", func(p *wire.Pool) error {
						return errors.Join(is(p.Checkpoint.Floor, uint64(before)), is(p.State, wire.PoolPaused))
					})
					continue
				}
				p := e.AwaitFloor(name, last)
				if p.Epoch < epochs[name] {
					t.Errorf("the epoch of %s went from %d to %d", name, epochs[name], p.Epoch)
				}
				if n := recorders[i].Count(); n > before+2*after {
					t.Errorf("%s got %d deliveries of %d events", name, n, before+after)
				}
			}
			late.AwaitAll(upTo(1, last))
			e.Await("a report", func() error {
				report, err := e.Client.CheckHealth(e.Context())
				if err == nil && report.TotalSubscriptions != subs+1 {
					err = fmt.Errorf("it counts %d subscriptions", report.TotalSubscriptions)
				}
				return err
			})
		})
	}
}

func publishEvents(e *harness.Env, n int) (last uint64) {
	for i := range n {
		last = e.Publish(fmt.Sprintf("events.k%d.x", i%4), "x")
	}
	return last
}

// No key may wipe a bucket.
func TestBuckets_AllowNoRollup(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.StartAll()
	e.Store("EVENTS", "events.>")
	e.Subscribe("kept", client.Spec{
		Store: "EVENTS", Selector: client.Selector{ByStream: []string{wire.AllStreams}}, Deliver: client.Deliver{Subject: "to.kept"},
	})
	e.AwaitOwned("kept")
	for _, bucket := range []string{"subscriptions", "pools", "sessions", "health", "replays"} {
		for _, how := range []string{jetstream.MsgRollupAll, jetstream.MsgRollupSubject} {
			msg := &nats.Msg{Subject: "$KV.sluice_" + bucket + ".some.key", Header: nats.Header{jetstream.MsgRollup: {how}}}
			if _, err := e.JS.PublishMsg(e.Context(), msg); err == nil {
				t.Errorf("%s takes a rollup %q", bucket, how)
			}
		}
	}
	if got := e.Get("kept"); got.Subscription == nil || got.Pool == nil {
		t.Errorf("after it the subscription is %+v", got)
	}
}
