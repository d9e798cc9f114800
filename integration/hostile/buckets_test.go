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
			recorders := subscribeAll(e, subs)
			epochs := map[string]uint64{}
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

// An emitter that starts when the bucket of places is gone leaves them to those
// who know them, who may take a moment.
func TestBuckets_ThatAreDeletedAreNotFilledByNewcomers(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	ttl := []string{"SLUICE_SESSION_TTL", "60s"} // longer than the owner is held up
	for _, name := range []string{wire.ServiceRegistry, wire.ServiceHealthmon, wire.ServiceReplayer} {
		e.Start(name, ttl...)
	}
	owner := e.Spawn(wire.ServiceEmitter, ttl...)
	e.Store("EVENTS", "events.>")
	const subs, events = 8, 40
	recorders := subscribeAll(e, subs)
	last := publishEvents(e, events)
	for i := range subs {
		e.AwaitFloor(fmt.Sprint("s", i), last)
	}
	owner.Freeze(true)
	if err := e.JS.DeleteKeyValue(e.Context(), "sluice_pools"); err != nil {
		t.Fatal(err)
	}
	e.Start(wire.ServiceEmitter, ttl...)
	for range 2 { // the newcomer has time to claim
		e.Await("a sweep", func() error { _, err := e.Client.CheckHealth(e.Context()); return err })
	}
	owner.Freeze(false)
	last = publishEvents(e, events)
	for i := range subs {
		e.AwaitFloor(fmt.Sprint("s", i), last)
		if n := recorders[i].Count(); n > 2*events+events/2 {
			t.Errorf("s%d got %d deliveries of %d events", i, n, 2*events)
		}
	}
}

// A cleanup switch that somebody has set outlives the bucket that it lies in.
func TestBuckets_ThatAreDeletedLeaveTheSwitchAsItWas(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.StartAll()
	enabled := func() (bool, error) {
		r, err := e.Client.CheckHealth(e.Context())
		if err != nil {
			return false, err
		}
		return r.CleanupEnabled, nil
	}
	was, err := enabled()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client.SetCleanup(e.Context(), !was); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		e.Await("the switch to be as it was set", func() error {
			now, err := enabled()
			if err == nil && now == was {
				err = errors.New("it is the default again")
			}
			return err
		})
		if err := e.JS.DeleteKeyValue(e.Context(), "sluice_health"); err != nil {
			t.Fatal(err)
		}
		e.Await("the bucket", func() error {
			_, err := e.JS.KeyValue(e.Context(), "sluice_health")
			return err
		})
	}
}

// subscribeAll makes subscriptions s0, s1… to all events, and records what they get.
func subscribeAll(e *harness.Env, n int) (recorders []*harness.Recorder) {
	for i := range n {
		name := fmt.Sprint("s", i)
		recorders = append(recorders, e.Record("to."+name, harness.Ack))
		e.Subscribe(name, client.Spec{
			Store: "EVENTS", Selector: client.Selector{ByStream: []string{wire.AllStreams}},
			Start: client.FromAll(), Deliver: client.Deliver{Subject: "to." + name},
		})
	}
	return recorders
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
