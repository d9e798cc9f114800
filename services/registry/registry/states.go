package registry

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// statesIdle is how long the states of all pools are kept after a list that
// needed them: some 200 bytes a pool.
const statesIdle = time.Minute

// poolState is what a list shows of a pool entry.
type poolState struct {
	uid   string
	owner string
	state wire.PoolState
}

// state is the state of a subscription in a list.
func state(rec *wire.Record, p poolState) string {
	switch {
	case rec.Paused:
		return string(wire.PoolPaused)
	case p.uid != rec.UID || p.owner == "":
		return wire.StateUnclaimed
	default:
		return string(p.state)
	}
}

func decodeState(e subscription.Entry) poolState {
	p, err := subscription.DecodePool(e)
	if err != nil {
		return poolState{} // as good as unclaimed; the monitor reports it
	}
	return poolState{p.UID, p.Owner, p.State}
}

// states is what lists need of all pools at once. Entries change several times a
// second each, so they are not followed: each list reads what has changed since
// the one before. What a list could not read in its time is left to the next one,
// which goes on from there.
type states struct {
	kv  bucket.KeyValue
	log zerolog.Logger

	turn  chan struct{} // cap 1: held by the list that reads
	mu    sync.Mutex    // over what follows, which changes with the turn held
	pools map[string]poolState
	made  time.Time // the bucket that they are of
	last  uint64    // the revision up to which it was read
	used  time.Time
}

func newStates(kv bucket.KeyValue, log zerolog.Logger) *states {
	return &states{kv: kv, log: log, turn: make(chan struct{}, 1), pools: map[string]poolState{}}
}

// refresh reads what has changed. After an error a part of it is known already.
func (s *states) refresh(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case s.turn <- struct{}{}:
	}
	defer func() { <-s.turn }()
	st, err := s.kv.Status(ctx)
	if err != nil {
		return fmt.Errorf("look at the pools bucket: %w", err)
	}
	bs, ok := st.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return fmt.Errorf("look at the pools bucket: no stream behind it, but %s", st.BackingStore())
	}
	after, current := s.begin(bs.StreamInfo())
	if current {
		return nil
	}
	return s.kv.List(ctx, bucket.Following{After: after, Purpose: "lists the states of pools", Log: s.log, Entry: s.take})
}

// begin returns behind which revision to read, and whether nothing is there.
func (s *states) begin(info *jetstream.StreamInfo) (after uint64, current bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !info.Created.Equal(s.made) || info.State.LastSeq < s.last { // another bucket, or one that was set back
		s.pools, s.made, s.last = map[string]poolState{}, info.Created, 0
	}
	s.used = time.Now()
	return s.last, info.State.LastSeq == s.last
}

// take takes over an entry.
func (s *states) take(e jetstream.KeyValueEntry) {
	var p poolState
	lives := e.Operation() == jetstream.KeyValuePut
	if lives {
		p = decodeState(subscription.EntryOf(e))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last, e.Revision())
	if lives {
		s.pools[e.Key()] = p
	} else {
		delete(s.pools, e.Key())
	}
}

// revision is up to where the bucket has been read.
func (s *states) revision() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// get returns the state of a pool as it was read last; the zero value where
// there was none.
func (s *states) get(name string) poolState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pools[name]
}

// run forgets the states when no list has needed them for a while, until ctx ends.
func (s *states) run(ctx context.Context) {
	tick := time.NewTicker(statesIdle / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.expire(time.Now())
		}
	}
}

func (s *states) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pools) > 0 && now.Sub(s.used) >= statesIdle {
		s.pools, s.last = map[string]poolState{}, 0
	}
}
