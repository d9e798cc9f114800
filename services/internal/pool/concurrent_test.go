package pool_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
	"github.com/sluicehq/sluice/services/internal/timers"
)

// TestALateAnswerMayComeWhileItsEventIsAskedFor is for the race detector.
func TestALateAnswerMayComeWhileItsEventIsAskedFor(t *testing.T) {
	withPool(t, config{spec: blocking()}, func(t *testing.T, b *bed) {
		b.offer(1, "a.x", "b.x")
		ds := b.next()
		for _, d := range ds {
			b.answer(d, hold)
		}
		var answers sync.WaitGroup
		var first sync.Once
		b.fetch.set(func(f *fetcher) {
			f.hold = true
			f.asks = func(w pool.Wanted) {
				first.Do(func() { // the other one is asked for next
					answers.Go(func() { b.answer(ds[2-w.Sequence], "") })
				})
			}
		})
		after(time.Hour)
		answers.Wait()
		b.fetch.answer()
		for _, d := range b.next() {
			b.answer(d, "")
		}
		b.wantAllFinished()
	})
}

// TestReaderAnswersAndQuestionsMayComeAtOnce is for the race detector, and for
// wake-ups: no timer runs that would make up for a lost one.
func TestReaderAnswersAndQuestionsMayComeAtOnce(t *testing.T) {
	t.Parallel()
	const events = 3000
	s := spec()
	s.PoolSize = wire.PoolSize{Min: 4, Max: 64}
	b := newBed(t, timers.New(), config{spec: s})
	defer b.Close()
	answers := make(chan sent, events)
	last := map[string]uint64{}
	b.pub.saw = func(d sent) { // under the publisher's lock
		key := d.msg.Header.Get(wire.HeaderSubject)
		if d.seq <= last[key] {
			t.Errorf("event %d is sent after %d of the same key", d.seq, last[key])
		}
		last[key] = d.seq
		answers <- d
	}
	var stop atomic.Bool
	var settled atomic.Int64
	var helpers, subscribers sync.WaitGroup
	for range 2 {
		helpers.Go(func() {
			for !stop.Load() {
				if st := b.Status(); st.Floor > st.Position {
					t.Errorf("floor %d is beyond position %d", st.Floor, st.Position)
				}
				b.entry()
				<-time.After(100 * time.Microsecond)
			}
		})
	}
	for range 4 {
		subscribers.Go(func() {
			for d := range answers {
				if b.answer(d, ""); settled.Add(1) == events {
					close(answers)
				}
			}
		})
	}
	for seq := uint64(1); seq <= events; seq++ {
		for !b.Offer(makeEvent(seq, fmt.Sprintf("k%d.x", seq%37), nil, 10)) {
			<-b.Room()
		}
		b.position.Store(seq)
		b.Flush()
	}
	subscribers.Wait() // for ever, should a wake-up be lost between those that flush
	stop.Store(true)
	helpers.Wait()
	b.wantAllFinished()
}
