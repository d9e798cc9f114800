package emitter

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
	"github.com/sluicehq/sluice/services/internal/answers"
)

const testStore = "EVENTS"

// bed is a server with a store, and emitters on it that a test can harm.
type bed struct {
	t   *testing.T
	srv *natstest.Server
	js  jetstream.JetStream
}

func newBed(t *testing.T) *bed {
	t.Helper()
	srv := natstest.Start(t)
	b := &bed{t: t, srv: srv, js: srv.JetStream()}
	if _, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStore, Subjects: []string{"e.>"}}); err != nil {
		t.Fatal(err)
	}
	return b
}

// instance is an emitter, and its parts once it runs.
type instance struct {
	*Service
	*parts
}

// emitter returns an emitter that has not begun to run, so that its instance
// can be reckoned with.
func (b *bed) emitter(drain time.Duration) *instance {
	b.t.Helper()
	s, err := New(
		Config{DrainTimeout: drain, MaxReaders: 16, EventBytes: 1 << 20, CheckpointRate: 1000, HTTP: HTTP{PerHost: 64}},
		service.Discard(service.Common{
			Namespace: wire.DefaultNamespace, Replicas: 1, SessionTTL: 2 * time.Second, NATS: bus.Config{URL: b.srv.URL()},
		}))
	if err != nil {
		b.t.Fatal(err)
	}
	return &instance{Service: s}
}

// run runs s, with a pools bucket as seen through harm, until the test ends
// and returns once it has its session.
func (b *bed) run(s *instance, harm func(bucket.KeyValue) bucket.KeyValue) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	l := link{answers: answers.New(s.ns.Answers(s.instance))}
	var err error
	if l.ctl, err = bus.Connect(ctx, s.common.NATS, "ctl", s.log); err != nil {
		b.t.Fatal(err)
	}
	if l.data, err = bus.Connect(ctx, s.common.NATS, "data", s.log); err != nil {
		b.t.Fatal(err)
	}
	if err := s.prepare(ctx, &l); err != nil {
		b.t.Fatal(err)
	}
	if harm != nil {
		l.buckets.Pools = harm(l.buckets.Pools)
	}
	if s.parts, err = s.build(l); err != nil {
		b.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.run(ctx); err != nil {
			b.t.Errorf("run: %v", err)
		}
	}()
	b.t.Cleanup(func() {
		cancel()
		<-done
		s.close()
		l.ctl.Close()
		l.data.Close()
	})
	natstest.Await(b.t, "the session of "+s.instance, func() error {
		if !s.session.Valid() {
			return fmt.Errorf("it is not valid")
		}
		return nil
	})
}

func (b *bed) bucket(name string) bucket.KeyValue {
	b.t.Helper()
	kv, err := bucket.Open(b.t.Context(), b.js, name, feed.Owner{})
	if err != nil {
		b.t.Fatal(err)
	}
	return kv
}

// subscribe writes the record of a subscription to everything, on to.<name>,
// as edited.
func (b *bed) subscribe(name string, edits ...func(*wire.Record)) {
	b.t.Helper()
	stream, err := b.js.Stream(b.t.Context(), testStore)
	if err != nil {
		b.t.Fatal(err)
	}
	spec := subscription.Default()
	spec.Store, spec.Selector.ByStream = testStore, wire.StringList{">"}
	spec.Deliver.Subject = "to." + name
	rec := subscription.NewRecord(name, "uid-"+name, spec, subscription.Start{Sequence: 1, StoreCreated: stream.CachedInfo().Created}, time.Now())
	for _, edit := range edits {
		edit(rec)
	}
	records := subscription.NewStore(b.bucket(wire.DefaultNamespace.BucketSubscriptions()), wire.DefaultNamespace)
	if _, err := records.Create(b.t.Context(), rec); err != nil {
		b.t.Fatal(err)
	}
}

// owned waits until all pools are owned by instance.
func (b *bed) owned(names []string, instance string) {
	b.t.Helper()
	pools := subscription.NewPools(b.bucket(wire.DefaultNamespace.BucketPools()))
	natstest.Await(b.t, "all pools to be with "+instance, func() error {
		for _, name := range names {
			p, _, err := pools.Get(b.t.Context(), name)
			switch {
			case err != nil:
				return err
			case p.Owner != instance:
				return fmt.Errorf("the owner of %s is %q", name, p.Owner)
			}
		}
		return nil
	})
}

// rightful returns n names of pools that belong to the first of two emitters.
func rightful(n int, first, second *instance) []string {
	var names []string
	for i := 0; len(names) < n; i++ {
		name := fmt.Sprintf("sub-%d", i)
		if claim.Rightful(name, []string{first.instance, second.instance}) == first.instance {
			names = append(names, name)
		}
	}
	return names
}

// unreleasing is a bucket in which the first release of each pool fails.
type unreleasing struct {
	bucket.KeyValue
	mu    sync.Mutex
	times map[string]int
}

const tries = 16 // of a change

func (u *unreleasing) Update(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if bytes.Contains(value, []byte(`"owner":""`)) && u.fails(key) {
		return 0, context.DeadlineExceeded
	}
	return u.KeyValue.Update(ctx, key, value, rev)
}

func (u *unreleasing) fails(key string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.times[key]++
	return u.times[key] <= tries
}

func TestAPoolWhoseReleaseCouldNotBeWrittenIsReleasedLater(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	old, newcomer := b.emitter(time.Second), b.emitter(time.Second)
	harm := &unreleasing{times: map[string]int{}}
	b.run(old, func(kv bucket.KeyValue) bucket.KeyValue {
		harm.KeyValue = kv
		return harm
	})
	names := rightful(3, newcomer, old)
	for _, name := range names {
		b.subscribe(name)
	}
	b.owned(names, old.instance)
	b.run(newcomer, nil)
	b.owned(names, newcomer.instance)
	harm.mu.Lock()
	defer harm.mu.Unlock()
	for _, name := range names {
		if harm.times[name] <= tries {
			t.Errorf("no release of %s failed", name)
		}
	}
}

func TestOurOwnPoolIsClaimedAnewFromWhereItIsAndNotFromWhereOurCopyHasIt(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.emitter(time.Second)
	b.run(s, nil)
	b.subscribe("s")
	records := subscription.NewStore(b.bucket(s.ns.BucketSubscriptions()), s.ns)
	rec, recRev, err := records.Get(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	rec.Name, rec.UID = "other", "uid-other" // a name that the reconciler does not know
	stale := wire.Pool{
		Schema: 1, Name: rec.Name, UID: rec.UID, Owner: s.instance, Epoch: 1, Checkpoint: wire.Checkpoint{Floor: 5},
		State: wire.PoolLive, ClaimedAt: time.Now(), UpdatedAt: time.Now(),
	}
	rev, err := s.claims.pools.Write(t.Context(), &stale, 0)
	if err != nil {
		t.Fatal(err)
	}
	later := stale
	later.Checkpoint.Floor = 7
	if _, err := s.claims.pools.Write(t.Context(), &later, rev); err != nil {
		t.Fatal(err)
	}
	err = s.claims.claim(t.Context(), rec.Name, claim.View{
		Me: s.instance, Record: rec, RecordRevision: recRev, Rightful: s.instance,
		Pool: &stale, PoolRevision: rev, OwnerAlive: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := s.claims.pools.Get(t.Context(), rec.Name)
	if err != nil || p.Checkpoint.Floor != 7 || p.Epoch < 2 {
		t.Errorf("the pool is at floor %d, epoch %d (%v), want floor 7 under a new epoch", p.Checkpoint.Floor, p.Epoch, err)
	}
}

// unanswered has n events of s delivered to a subscriber that does not answer
// before the function that is returned has it answer so many deliveries.
func (b *bed) unanswered(s *instance, n int) (answer func(n int)) {
	b.t.Helper()
	waiting := make(chan *nats.Msg, 10*n)
	if _, err := b.js.Conn().ChanSubscribe("to.>", waiting); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.js.Publish(b.t.Context(), "e.made", nil); err != nil {
		b.t.Fatal(err)
	}
	natstest.Await(b.t, "the deliveries", func() error {
		if got := s.answers.InFlight(); got != n {
			return fmt.Errorf("%d of %d are out", got, n)
		}
		return nil
	})
	return func(n int) {
		for range n {
			if err := (<-waiting).Respond(nil); err != nil {
				b.t.Error(err)
			}
		}
	}
}

// moreThanSlots waits until s is at more pools than it has slots for actions.
func moreThanSlots(t *testing.T, s *instance) {
	t.Helper()
	natstest.Await(t, "more hand-overs than slots", func() error {
		if n := s.claims.queue.working(); n <= maxActions {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
}

func TestHandOversThatDrainHoldUpNoClaim(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s, other := b.emitter(time.Minute), b.emitter(time.Minute)
	slow := rightful(3*maxActions, other, s)
	b.run(s, nil)
	for _, name := range slow {
		b.subscribe(name)
	}
	b.owned(slow, s.instance)
	answer := b.unanswered(s, len(slow))
	b.run(other, nil)
	moreThanSlots(t, s)
	fresh := rightful(1, s, other)
	b.subscribe(fresh[0])
	b.owned(fresh, s.instance)
	b.owned(slow, s.instance) // they still drain
	answer(len(slow) + len(fresh))
	b.owned(slow, other.instance)
}

func TestTheLossOfTheSessionIsActedOnAlthoughHandOversDrain(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s, other := b.emitter(time.Minute), b.emitter(time.Minute)
	names := append(rightful(maxActions+1, other, s), rightful(1, s, other)...)
	b.run(s, nil)
	for _, name := range names {
		b.subscribe(name)
	}
	b.owned(names, s.instance)
	b.unanswered(s, len(names))
	b.run(other, nil)
	moreThanSlots(t, s)
	b.srv.Stop()
	natstest.Await(t, "the end of every pool", func() error {
		if n := len(s.claims.holdings.all()); n > 0 {
			return fmt.Errorf("%d pools are held (the session is valid: %t)", n, s.session.Valid())
		}
		return nil
	})
}

func TestTheSessionSaysHowManyDeliveriesAreOut(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.emitter(0)
	b.run(s, nil)
	names := []string{"a", "b"}
	for _, name := range names {
		b.subscribe(name)
	}
	b.owned(names, s.instance)
	b.unanswered(s, len(names))
	s.session.Renew()
	natstest.Await(t, "the session", func() error {
		if got := s.session.Shown().InFlight; got != len(names) {
			return fmt.Errorf("it says %d", got)
		}
		return nil
	})
}

func TestASubscriptionThatStartsBeyondItsStoreHasNotBegun(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.run(b.emitter(0), nil)
	b.subscribe("s", func(rec *wire.Record) {
		rec.Spec.Start = wire.Position{Kind: wire.PositionSequence, Sequence: 50}
		rec.StartSequence = 50
	})
	pools := subscription.NewPools(b.bucket(wire.DefaultNamespace.BucketPools()))
	natstest.Await(t, "the state of the pool", func() error {
		p, _, err := pools.Get(t.Context(), "s")
		if err == nil && p.State != wire.PoolNotBegun {
			err = fmt.Errorf("it is %s (%s)", p.State, p.Reason)
		}
		return err
	})
}

// hanging is a bucket in which writes over a revision of at least from are never
// answered.
type hanging struct {
	bucket.KeyValue
	from uint64
	hang chan struct{} // cap 1: one does
}

func (h hanging) Update(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if rev < h.from {
		return h.KeyValue.Update(ctx, key, value, rev)
	}
	select {
	case h.hang <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestAWriteThatHangsHoldsUpNoLookAtItsPool(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.emitter(0)
	hang := make(chan struct{}, 1)
	b.run(s, func(kv bucket.KeyValue) bucket.KeyValue { return hanging{kv, 1, hang} }) // not the claim
	b.subscribe("s")
	<-hang
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, p := range s.reports.statuses(nil) {
			if p.Name != "s" || p.Epoch == 0 {
				t.Errorf("the status is %+v", p)
			}
		}
		if v := s.view.of("s"); v.Held == nil {
			t.Error("the pool is not held")
		}
	}()
	select {
	case <-done:
	case <-time.After(500 * time.Millisecond): // the write hangs for more than a second
		t.Error("status and view wait for the write")
		<-done
	}
}

func TestAWriteThatHangsKeepsAPoolNoLongerThanTheSessionIsTrusted(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.emitter(0)
	b.run(s, func(kv bucket.KeyValue) bucket.KeyValue { return hanging{KeyValue: kv} })
	h := &holding{name: "s", me: s.instance}
	began, trusted := time.Now(), s.session.ValidFor()
	if err := s.claims.write(t.Context(), h, wire.Pool{Name: "s", UID: "u", Epoch: 1, Owner: s.instance}); err == nil {
		t.Error("no error")
	}
	if took := time.Since(began); took > trusted+time.Second {
		t.Errorf("the write took %v, the session was to be trusted for %v", took, trusted)
	}
}

func TestWhatPeersWriteIsNotDecoded(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s, peer := b.emitter(0), b.emitter(0)
	b.run(s, nil)
	b.run(peer, nil)
	name := rightful(1, peer, s)[0]
	b.subscribe(name)
	b.owned([]string{name}, peer.instance)
	natstest.Await(t, "the entry of the peer", func() error {
		if e, ok := s.view.copies.pools.Get(name); !ok || !bytes.Contains(e.Value, []byte(peer.instance)) {
			return fmt.Errorf("%q", e.Value)
		}
		return nil
	})
	if v := s.view.of(name); v.PoolRevision == 0 || v.RecordRevision == 0 || v.Pool != nil || v.Record != nil {
		t.Errorf("the other's pool is seen as %+v", v)
	}
	own := rightful(1, s, peer)[0]
	b.subscribe(own)
	b.owned([]string{own}, s.instance)
	natstest.Await(t, "the view of our own pool", func() error {
		if v := s.view.of(own); v.Held == nil || v.Pool != nil || v.Record != nil {
			return fmt.Errorf("%+v", v)
		}
		return nil
	})
}
