package reader

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/natstest"
)

// A claim writes that a pool is live where AtEnd says so.
func TestStore_AtEndOnlyWhereAPoolWouldBeLiveAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	created := time.Now()
	cannot := feed.State{Err: errors.New("cannot")}
	for _, tt := range []struct {
		name    string
		but     func(s *Store, r *reader)
		created time.Time
		at      uint64
		want    bool
	}{
		{"it is", func(*Store, *reader) {}, created, 100, true},
		{"of any store", func(*Store, *reader) {}, time.Time{}, 100, true},
		{"of another store", func(*Store, *reader) {}, created.Add(1), 100, false},
		{"before the end", func(*Store, *reader) {}, created, 99, false},
		{"beyond the end", func(*Store, *reader) {}, created, 101, false},
		{"the store is not known", func(s *Store, _ *reader) { s.info = info{last: 100} }, time.Time{}, 100, false},
		{"the store cannot be looked at", func(s *Store, _ *reader) { s.lookHealth.note(cannot) }, created, 100, false},
		{"no reader", func(s *Store, _ *reader) { s.head.Store(nil) }, created, 100, false},
		{"the reader cannot read", func(_ *Store, r *reader) { r.health.note(cannot) }, created, 100, false},
		{"the reader has fallen behind", func(_ *Store, r *reader) { r.lag.fallen = true }, created, 100, false},
		{"the reader has stopped", func(_ *Store, r *reader) { r.stop() }, created, 100, false},
		{"the reader is beyond it", func(_ *Store, r *reader) { r.position.Store(101) }, created, 100, false},
		{"the reader offers what is beyond it", func(_ *Store, r *reader) { r.begun = 101 }, created, 100, false},
	} {
		s := bare(e)
		s.info = info{first: 1, last: 100, created: created}
		tt.but(s, s.withHead(100))
		if got := s.atEnd(tt.created, tt.at); got != tt.want {
			t.Errorf("%s: at the end %v", tt.name, got)
		}
	}
}

// Claims ask while a round opens the reader anew.
func TestStore_MayBeAskedForItsEndWhileItsReadersAreOpenedAnew(t *testing.T) {
	t.Parallel()
	e := newEnv(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = e.set.AtEnd(testStore, time.Time{}, 0)
			}
		}
	}()
	defer close(done)
	for i := range 10 {
		s := e.subscribe(fmt.Sprintf("s%d", i), fmt.Sprintf("e.%d.made", i), 0, false, nil)
		e.set.Attach(s.pool, s.rec, 0)
		natstest.Await(t, "live", func() error { return errors.Join(s.in("live", "")) })
	}
}
