package hostile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// full is a stream of Sluice's own that has no room left, in an installation with
// two subscriptions: the subscriber of "keeps" takes all events, that of "refuses"
// none.
type full struct {
	stream string
	issue  string // its name
	// says requires that whoever meets it is told.
	says func(e *harness.Env) error
	// after requires that what was held up goes on when there is room.
	after func(e *harness.Env, last uint64)
}

func fulls() []full {
	const why = "the parked stream is full: it holds as much as it may"
	return []full{
		{
			stream: ns.StreamParked(), issue: ns.StreamParked(),
			says: func(e *harness.Env) error {
				p, err := e.Pool("refuses")
				if err != nil {
					return err
				}
				h, err := e.Client.SubscriptionHealth(e.Context(), "refuses")
				if err != nil {
					return err
				}
				if st := e.Get("refuses").Status; st == nil || st.State != wire.PoolBlocked || !strings.HasPrefix(st.Unparked, why) {
					return fmt.Errorf("its owner says %+v", st)
				}
				return errors.Join(
					is(p.State, wire.PoolBlocked), has(p.Reason, why),
					is(h.Status, wire.StatusDegraded), has(strings.Join(h.Reasons, "; "), why),
					advised(e, wire.AdvPoolBlocked, "refuses", why),
				)
			},
			after: func(e *harness.Env, _ uint64) {
				e.AwaitPool("refuses", "at work", func(p *wire.Pool) error { return is(p.State, wire.PoolLive) })
			},
		},
		{
			stream: "KV_" + ns.BucketSubscriptions(), issue: ns.BucketSubscriptions(),
			says: func(e *harness.Env) error {
				_, err := e.Client.Subscribe(e.Context(), "late", late())
				var bad *wire.Error
				if !errors.As(err, &bad) || bad.ErrCode != wire.CodeUnavailable || bad.Outcome != "" {
					return fmt.Errorf("a subscribe ends with %w", err)
				}
				return has(bad.Description, "storage is full: the bucket sluice_subscriptions holds as much as it may")
			},
			after: func(e *harness.Env, last uint64) {
				e.Subscribe("late", late())
				e.AwaitFloor("late", last)
			},
		},
		{
			stream: "KV_" + ns.BucketPools(), issue: ns.BucketPools(),
			says: func(e *harness.Env) error {
				if _, err := e.Client.Subscribe(e.Context(), "late", late()); err != nil {
					return err
				}
				r, err := e.Client.CheckHealth(e.Context())
				if err == nil && len(r.Issues.Missing) != 1 {
					err = fmt.Errorf("missing pools: %+v", r.Issues.Missing)
				}
				return err
			},
			after: func(e *harness.Env, last uint64) { e.AwaitFloor("late", last) },
		},
		{
			stream: "KV_" + ns.BucketHealth(), issue: ns.BucketHealth(),
			says: func(e *harness.Env) error { // a report, which comes all the same, is what await looks at
				_, err := e.Client.SubscriptionHealth(e.Context(), "keeps")
				return err
			},
			after: func(e *harness.Env, _ uint64) {
				kv, err := e.JS.KeyValue(e.Context(), ns.BucketHealth())
				if err != nil {
					e.T.Fatal(err)
				}
				e.Await("a report in the bucket without the issue", func() error {
					entry, err := kv.Get(e.Context(), "report")
					if err == nil && strings.Contains(string(entry.Value()), `"kind":"storage_near_full"`) {
						err = errors.New("it is there still")
					}
					return err
				})
			},
		},
	}
}

func late() client.Spec {
	return client.Spec{
		Store: "EVENTS", Selector: client.Selector{ByStream: []string{wire.AllStreams}},
		Start: client.FromAll(), Deliver: client.Deliver{Subject: "to.late"},
	}
}

func has(text, part string) error {
	if !strings.Contains(text, part) {
		return fmt.Errorf("no %q in %q", part, text)
	}
	return nil
}

// advised reports whether an advisory about a subscription has been stored.
func advised(e *harness.Env, what, name, part string) error {
	for _, m := range e.Stored(ns.StreamAdvisories(), ns.Advisory(what, name)) {
		if strings.Contains(string(m.Data), part) {
			return nil
		}
	}
	return fmt.Errorf("no advisory %s of %s with %q", what, name, part)
}

// bound sets how many bytes a stream may hold; -1 is half of what it holds. What
// it holds stays.
func bound(e *harness.Env, name string, bytes int64) {
	e.T.Helper()
	s, err := e.JS.Stream(e.Context(), name)
	if err != nil {
		e.T.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	if cfg.MaxBytes = bytes; bytes < 0 {
		cfg.MaxBytes = int64(s.CachedInfo().State.Bytes)/2 + 1
	}
	if _, err := e.JS.UpdateStream(e.Context(), cfg); err != nil {
		e.T.Fatalf("bound %s: %v", name, err)
	}
}

// A stream of Sluice's own that is full holds up what needs it, and nothing else.
// Whoever meets it is told; nothing is lost, and all goes on when there is room.
func TestFull_IsSaidAndLosesNothing(t *testing.T) {
	t.Parallel()
	for _, tt := range fulls() {
		t.Run(tt.stream, func(t *testing.T) {
			t.Parallel()
			e := harness.New(t)
			e.StartAll()
			e.Store("EVENTS", "events.>")
			keeps := e.Record("to.keeps", harness.Ack)
			e.Record("to.refuses", func(_ harness.Delivery, say func(string)) { say("+TERM no") })
			e.Record("to.late", harness.Ack)
			for _, name := range []string{"keeps", "refuses"} {
				spec := late()
				spec.Deliver.Subject, spec.OrderBy = "to."+name, client.OrderBySubject()
				e.Subscribe(name, spec)
			}
			last := publishEvents(e, 20)
			for _, name := range []string{"keeps", "refuses"} {
				e.AwaitFloor(name, last)
			}
			bound(e, tt.stream, -1)

			last = publishEvents(e, 20)
			keeps.AwaitAll(upTo(1, last))
			e.Await("word of it", func() error { return tt.says(e) })
			e.Await("the issue", func() error {
				r, err := e.Client.CheckHealth(e.Context())
				if err != nil {
					return err
				}
				for _, i := range r.Issues.StorageFull {
					if i.Name == tt.issue {
						return nil
					}
				}
				return fmt.Errorf("near full: %+v", r.Issues.StorageFull)
			})

			bound(e, tt.stream, 64<<20)
			tt.after(e, last)
			for _, name := range []string{"keeps", "refuses"} {
				e.AwaitFloor(name, last)
			}
			if n := keeps.Count(); n != int(last) {
				t.Errorf("%d deliveries of %d events", n, last)
			}
			wantParked(t, e, "refuses", last)
			e.Await("the end of the issue", func() error {
				r, err := e.Client.CheckHealth(e.Context())
				if err == nil && len(r.Issues.StorageFull) > 0 {
					err = fmt.Errorf("near full: %+v", r.Issues.StorageFull)
				}
				return err
			})
		})
	}
}

// wantParked requires that all events up to last are parked, once.
func wantParked(t *testing.T, e *harness.Env, name string, last uint64) {
	t.Helper()
	var parked []string
	for _, m := range e.Stored(ns.StreamParked(), ns.Parked(name)) {
		parked = append(parked, m.Header.Get(wire.HeaderSequence))
	}
	slices.Sort(parked)
	if n := len(slices.Compact(parked)); n != int(last) || len(parked) != int(last) {
		t.Errorf("%d messages of %d events are parked, want %d of each", len(parked), n, last)
	}
}
