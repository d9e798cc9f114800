package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/integration/lab"
)

const (
	store     = "SOAK"
	groups    = 25
	keys      = 1000    // of all groups
	kept      = 100_000 // events that the store keeps
	groupHead = "x-group"
)

// types are the last tokens of the subjects.
func types() []string { return []string{"opened", "closed", "moved"} }

// event is what is known of the n-th event, from 0. Its sequence is n+1: the
// soak is the only publisher, and sends one after the other.
type event struct {
	n, key, group int
	kind          string
	amount        int
}

func eventOf(n int) event {
	key := n * 7919 % keys // a prime: neighbours have different keys
	return event{n: n, key: key, group: key % groups, kind: types()[n%len(types())], amount: n % 1000}
}

func (e event) subject() string {
	return fmt.Sprintf("soak.g%d.k%d.%s", e.group, e.key, e.kind)
}

func (e event) message() (*nats.Msg, error) {
	m := nats.NewMsg(e.subject())
	m.Header.Set(groupHead, "g"+strconv.Itoa(e.group))
	body, err := json.Marshal(map[string]any{"n": e.n, "amount": e.amount, "who": map[string]any{"login": fmt.Sprintf("u%d-%d", e.group, e.key)}})
	m.Data = body
	return m, err
}

func makeStore(ctx context.Context, w *lab.World) error {
	_, err := w.JS.CreateStream(ctx, jetstream.StreamConfig{
		Name: store, Subjects: []string{"soak.>"}, Storage: jetstream.FileStorage, MaxMsgs: kept,
	})
	return err
}

// publish publishes at the rate until ctx ends. Each event is due at its own
// time, whatever became of those before.
func (s *soak) publish(ctx context.Context) error {
	begin, n := time.Now(), 0
	err := every(ctx, 10*time.Millisecond, func() error {
		for due := int(time.Since(begin).Seconds() * float64(s.o.rate)); n < due; n++ {
			m, err := eventOf(n).message()
			if err != nil {
				return err
			}
			if _, err := s.w.JS.PublishMsgAsync(m, jetstream.WithStallWait(20*time.Second)); err != nil {
				return fmt.Errorf("publish event %d: %w", n, err)
			}
			s.watch.published.Store(int64(n + 1))
		}
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case <-s.w.JS.PublishAsyncComplete():
	case <-time.After(20 * time.Second):
		return fmt.Errorf("publish: %d events were not acknowledged", s.w.JS.PublishAsyncPending())
	}
	info, err := s.storeInfo(context.WithoutCancel(ctx))
	if err == nil && info.State.LastSeq != uint64(n) {
		err = fmt.Errorf("the store ends at %d after %d events: the soak is no judge of that", info.State.LastSeq, n)
	}
	return err
}

func (s *soak) storeInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	st, err := s.w.JS.Stream(ctx, store)
	if err != nil {
		return nil, err
	}
	return st.CachedInfo(), nil
}
