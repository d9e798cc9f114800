package emitter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
)

func TestWhatIsLeftOfAPoolCountsForTheSameClaimOnlyAndNotForLong(t *testing.T) {
	t.Parallel()
	mine := wire.Pool{Name: "s", UID: "u", Owner: "e1", Epoch: 4, Checkpoint: wire.Checkpoint{Floor: 9}}
	now := time.Now()
	for _, tt := range []struct {
		name   string
		change func(*wire.Pool)
		after  time.Duration
		floor  uint64
	}{
		{"the same claim", func(*wire.Pool) {}, time.Second, 9},
		{"another claim of ours", func(p *wire.Pool) { p.Epoch = 5 }, 0, 2},
		{"another's claim", func(p *wire.Pool) { p.Owner = "e2" }, 0, 2},
		{"another subscription", func(p *wire.Pool) { p.UID = "v" }, 0, 2},
		{"another name", func(p *wire.Pool) { p.Name = "t" }, 0, 2},
		{"long ago", func(*wire.Pool) {}, time.Minute, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var l left
			l.keep(mine, now)
			l.expire(now.Add(tt.after), 20*time.Second)
			stored := mine
			stored.Checkpoint.Floor = 2
			tt.change(&stored)
			if got := l.of(&stored).Checkpoint.Floor; got != tt.floor {
				t.Errorf("floor %d, want %d", got, tt.floor)
			}
		})
	}
	if got := (&left{}).of(nil); got != nil {
		t.Errorf("of no entry %+v was left", got)
	}
}

// full is a bucket that takes no checkpoints while on.
type full struct {
	bucket.KeyValue
	on      atomic.Bool
	refused atomic.Int64
}

func (f *full) Update(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if f.on.Load() {
		f.refused.Add(1)
		return 0, context.DeadlineExceeded
	}
	return f.KeyValue.Update(ctx, key, value, rev)
}

func TestASessionThatLapsesWhileNothingIsWrittenRepeatsNothingThatIsFinished(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.emitter(time.Second)
	f := &full{}
	b.run(s, func(kv bucket.KeyValue) bucket.KeyValue { f.KeyValue = kv; return f })
	b.subscribe("s")
	b.owned([]string{"s"}, s.instance)
	var came []string // by the subscription's goroutine, until the end
	got := make(chan []string, 1)
	sub, err := b.js.Conn().Subscribe("to.s", func(m *nats.Msg) {
		came = append(came, m.Header.Get(wire.HeaderSequence))
		_ = m.Respond(nil)
		select {
		case <-got:
		default:
		}
		got <- slices.Clone(came)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	f.on.Store(true)
	for range 5 {
		if _, err := b.js.Publish(t.Context(), "e.made", nil); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Await(t, "the events to be finished and not written", func() error {
		h := s.claims.holdings.of("s")
		if h == nil || h.pool.Status().Floor < 5 || f.refused.Load() == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	b.srv.Stop()
	natstest.Await(t, "the loss of the pool", func() error {
		if n := len(s.claims.holdings.all()); n > 0 {
			return fmt.Errorf("%d are held", n)
		}
		return nil
	})
	f.on.Store(false)
	b.srv.Restart()
	natstest.Await(t, "the pool again", func() error {
		if s.claims.holdings.of("s") == nil {
			return errors.New("not held")
		}
		_, err := b.js.Publish(t.Context(), "e.made", nil)
		return err
	})
	natstest.Await(t, "the next event", func() error {
		if seqs := <-got; seqs[len(seqs)-1] != "6" {
			return fmt.Errorf("%v came", seqs)
		} else if !slices.Equal(seqs, []string{"1", "2", "3", "4", "5", "6"}) {
			t.Errorf("%v came, want each once", seqs)
		}
		return nil
	})
}

// unread is a bucket that answers no reads.
type unread struct{ jetstream.KeyValue }

func (unread) Get(ctx context.Context, _ string) (jetstream.KeyValueEntry, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestAClaimWhoseReadIsNotAnsweredIsGivenUpSoon(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		c := &claimer{me: "e1", pools: subscription.NewPools(unread{})}
		begun := time.Now()
		err := c.claim(t.Context(), "s", claim.View{Pool: &wire.Pool{Name: "s", Owner: "e1"}})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 2*time.Second {
			t.Errorf("claim = %v after %v", err, time.Since(begun))
		}
	})
}
