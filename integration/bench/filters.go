package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/integration/lab"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

func filters() []benchmark {
	bs := []benchmark{{
		name: "catch_up", unit: "s", goal: atMost(10),
		about:  "two subscriptions, 1,500 events/s: from the start of an emitter until the gap is worked off that 12 s without one left",
		sluice: catchUpLive,
	}}
	for _, n := range []int{2, 4, 16} {
		bs = append(bs, benchmark{
			name: fmt.Sprintf("filters_%d", n), unit: "events/s", goal: atLeast(0.8),
			about:  fmt.Sprintf("a backlog on 10,000 subjects, read for %d subscriptions with a filter each, against one", n),
			sluice: filtered(n), other: filtered(1),
		})
	}
	return bs
}

const (
	manySubjects = 10_000
	manyFilter   = "bench.events.many.>"
	fewFilter    = "bench.events.few.>"
)

func manySubject(i int) string { return subjectIn("many", i) }

// subjectIn ends with the event's type: the token before it is the key that events are
// kept in order by.
func subjectIn(class string, i int) string {
	return "bench.events." + class + "." + strconv.Itoa(i%manySubjects) + ".created"
}

// filtered measures a subscription that catches up on many subjects. The others of the
// same store, of n in all, want subjects that no event has.
func filtered(subs int) side {
	return func(ctx context.Context, w *world, o options) (float64, error) {
		n := o.scale(200_000, 20_000)
		if err := w.makeStore(ctx); err != nil {
			return 0, err
		}
		if err := w.publisherTo(manySubject, eventBytes).burst(ctx, n); err != nil {
			return 0, err
		}
		return w.workOff(ctx, n, answerAck, subs, manyAndNone)
	}
}

// manyAndNone is a subscription to all events if it is the first, else to none.
func manyAndNone(i int) client.Spec {
	s := subscription(i)
	s.Selector.ByStream = []string{manyFilter}
	if i > 0 {
		s.Selector.ByStream = []string{"bench.events.none" + strconv.Itoa(i) + ".>"}
	}
	return s
}

const (
	liveRate  = 1_500            // events a second
	liveGap   = 12 * time.Second // without an emitter
	oneInFew  = 51               // is for the second subscription
	closeLive = liveRate / 5     // events behind that count as caught up
)

// catchUpLive leaves a store without an emitter while it is written on, and measures how
// long the next emitter needs until both subscriptions are near its end.
func catchUpLive(ctx context.Context, w *world, o options) (float64, error) {
	gap := time.Duration(o.scale(int(liveGap/time.Second), 2)) * time.Second
	if err := w.makeStore(ctx); err != nil {
		return 0, err
	}
	if _, err := w.service(ctx, wire.ServiceRegistry); err != nil {
		return 0, err
	}
	emitter, err := w.service(ctx, wire.ServiceEmitter)
	if err != nil {
		return 0, err
	}
	got := &received{seen: map[string]bool{}}
	if _, err := w.NC.Subscribe(targets+"*", got.handle); err != nil {
		return 0, err
	}
	if err := w.subscribe(ctx, 2, manyAndFew); err != nil {
		return 0, err
	}
	if _, err := w.live(ctx, 2, ""); err != nil {
		return 0, err
	}
	ctx, stop := context.WithCancel(ctx)
	published := make(chan error, 1)
	began := time.Now()
	go func() { // ends by stop
		p := w.publisherTo(func(i int) string {
			if i%oneInFew == 0 {
				return subjectIn("few", i)
			}
			return manySubject(i)
		}, eventBytes)
		published <- p.pace(ctx, liveRate*int(roundTimeout.Seconds()), liveRate)
	}()
	took, err := w.leaveAlone(ctx, emitter, gap, func() int {
		return int(time.Since(began).Seconds()*liveRate) - got.count()
	})
	stop()
	if perr := <-published; err == nil && !errors.Is(perr, context.Canceled) {
		err = perr
	}
	return took, err
}

func manyAndFew(i int) client.Spec {
	s := subscription(i)
	s.Selector.ByStream = []string{[]string{manyFilter, fewFilter}[i]}
	return s
}

// leaveAlone kills the emitter, starts another after the gap, and returns how many
// seconds later so few are behind as in live reading.
func (w *world) leaveAlone(ctx context.Context, emitter *lab.Process, gap time.Duration, behind func() int) (float64, error) {
	emitter.Kill()
	if err := lab.Pause(ctx, gap); err != nil {
		return 0, err
	}
	begin, left := time.Now(), behind()
	if _, err := w.service(ctx, wire.ServiceEmitter); err != nil {
		return 0, err
	}
	err := lab.Eventually(ctx, func() error {
		if n := behind(); n > closeLive {
			return fmt.Errorf("%d events behind, %d at the start of the emitter", n, left)
		}
		return nil
	})
	return time.Since(begin).Seconds(), err
}

// received counts distinct events. It acknowledges them all.
type received struct {
	mu   sync.Mutex
	seen map[string]bool // by sequence
}

func (r *received) handle(m *nats.Msg) {
	_ = m.Respond(nil) // what is lost comes again
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[m.Header.Get(wire.HeaderSequence)] = true
}

func (r *received) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}
