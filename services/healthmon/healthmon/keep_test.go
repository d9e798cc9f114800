package healthmon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

// slowly makes a bucket that takes a while for everything, and counts how much it
// does at once.
func slowly(takes time.Duration) (kv *buckettest.KV, most *atomic.Int64) {
	kv, most = buckettest.New(0), new(atomic.Int64)
	var open atomic.Int64
	kv.Before = func(context.Context, string, string) error {
		if n := open.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-time.After(takes)
		return nil
	}
	kv.After = func(context.Context, string, string) error { open.Add(-1); return nil }
	return kv, most
}

func statusOf(i int, word string, lag uint64) wire.SubscriptionHealth {
	return wire.SubscriptionHealth{Name: fmt.Sprint("s", i), Status: word, State: "live", Lag: lag, CheckedAt: time.Now()}
}

func TestWhatWasFoundIsWrittenInAWindow(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		const n, takes = 10_000, 10 * time.Millisecond
		kv, most := slowly(takes)
		k := newKept(kv, zerolog.Nop())
		var changes []change
		for i := range n {
			changes = append(changes, change{key: fmt.Sprint("k", i), value: i})
		}
		start := time.Now()
		if err := k.write(t.Context(), slices.Values(changes)); err != nil {
			t.Fatal(err)
		}
		if took, want := time.Since(start), takes*(n/bucket.Window+2); took > want {
			t.Errorf("%d writes took %s, want at most %s", n, took, want)
		}
		if got := most.Load(); got > bucket.Window {
			t.Errorf("%d writes were under way at once, want at most %d", got, bucket.Window)
		}
		for i := range changes {
			changes[i].value = nil
		}
		start = time.Now()
		if err := k.write(t.Context(), slices.Values(changes)); err != nil {
			t.Fatal(err)
		}
		if took, want := time.Since(start), takes*(n/bucket.Window+2); took > want {
			t.Errorf("to remove them took %s, want at most %s", took, want)
		}
		if _, err := kv.Get(t.Context(), "k7"); err == nil || len(k.revs) != 0 {
			t.Errorf("Get(k7) = %v, %d revisions are known, want all removed", err, len(k.revs))
		}
	})
}

func TestWhatSomebodyElseWroteIsReadAndReplaced(t *testing.T) {
	t.Parallel()
	ctx, kv := t.Context(), buckettest.New(0)
	k := newKept(kv, zerolog.Nop())
	if err := k.put(ctx, "moved", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Update(ctx, "moved", []byte("theirs"), k.revs["moved"]); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Create(ctx, "new", []byte("theirs")); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"deleted", "removed"} {
		if err := k.put(ctx, key, 1); err != nil {
			t.Fatal(err)
		}
		if err := kv.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	done := map[string]bool{}
	var changes []change
	for key, value := range map[string]any{"moved": 2, "new": 2, "deleted": 2, "removed": nil, "never": nil} {
		changes = append(changes, change{key, value, func() { done[key] = true }})
	}
	if err := k.write(ctx, slices.Values(changes)); err != nil || len(done) != len(changes) {
		t.Fatalf("write = %v, done %v", err, done)
	}
	for _, key := range []string{"moved", "new", "deleted"} {
		if e, err := kv.Get(ctx, key); err != nil || string(e.Value()) != "2" {
			t.Errorf("Get(%s) = %v, %v, want 2", key, e, err)
		}
	}
	if _, err := kv.Get(ctx, "removed"); err == nil {
		t.Error("removed is there")
	}
}

func TestAWriteOfWhichNothingIsKnownIsReadBeforeItIsTriedAgain(t *testing.T) {
	t.Parallel()
	ctx, kv := t.Context(), buckettest.New(0)
	k := newKept(kv, zerolog.Nop())
	var ops []string
	silent := true
	kv.Before = func(_ context.Context, op, _ string) error { ops = append(ops, op); return nil }
	kv.After = func(context.Context, string, string) error {
		if silent {
			return bucket.ErrUnanswered // it was written all the same
		}
		return nil
	}
	if err := k.put(ctx, "k", 1); !errors.Is(err, bucket.ErrUnanswered) {
		t.Fatalf("put = %v, want that it is not known", err)
	}
	silent, ops = false, nil
	if err := k.put(ctx, "k", 2); err != nil || !slices.Equal(ops, []string{"get", "update"}) {
		t.Errorf("put = %v by %q, want a read and a write", err, ops)
	}
	if e, err := kv.Get(ctx, "k"); err != nil || string(e.Value()) != "2" {
		t.Errorf("Get = %v, %v", e, err)
	}
}

func TestAStatusIsWrittenWhenItsWordChanges(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		const n = 3 * refreshMost / 2
		kv := buckettest.New(0)
		m := &monitor{kept: newKept(kv, zerolog.Nop()), src: &source{nc: new(nats.Conn)}}
		m.log = zerolog.Nop()
		var written atomic.Int64
		kv.Before = func(context.Context, string, string) error { written.Add(1); return nil }
		sweep := func(what string, want int, of func(i int) wire.SubscriptionHealth) {
			t.Helper()
			var all []wire.SubscriptionHealth
			for i := range n {
				all = append(all, of(i))
			}
			written.Store(0)
			if err := m.keepStatuses(t.Context(), all); err != nil {
				t.Fatal(err)
			}
			if got := int(written.Load()); got != want {
				t.Errorf("%s: %d were written, want %d", what, got, want)
			}
		}
		healthy := func(i int) wire.SubscriptionHealth { return statusOf(i, wire.StatusHealthy, 0) }
		lagging := func(i int) wire.SubscriptionHealth { return statusOf(i, wire.StatusHealthy, 1000) }
		sweep("at first", n, healthy)
		sweep("nothing changed", 0, healthy)
		sweep("numbers changed", 0, lagging)
		sweep("the word of one changed", 1, func(i int) wire.SubscriptionHealth {
			st := lagging(i)
			if i == 3 {
				st.Status, st.Reasons = wire.StatusDegraded, []string{"parked_events: 3 events are parked"}
			}
			return st
		})
		degraded := func(reason string) func(i int) wire.SubscriptionHealth {
			return func(i int) wire.SubscriptionHealth {
				st := lagging(i)
				if i == 3 {
					st.Status, st.Reasons = wire.StatusDegraded, []string{reason}
				}
				return st
			}
		}
		sweep("a number in its reason changed", 0, degraded("parked_events: 4 events are parked"))
		sweep("its reason changed", 1, degraded("open_breakers: the breaker is open"))
		<-time.After(refreshAfter)
		sweep("numbers are old", refreshMost, degraded("open_breakers: the breaker is open"))
		sweep("the others' are", n-refreshMost-1, degraded("open_breakers: the breaker is open"))
		sweep("all are fresh", 0, degraded("open_breakers: the breaker is open"))
	})
}

func TestAStatusIsPublishedWhenItsWordChanges(t *testing.T) {
	t.Parallel()
	nc := natstest.Start(t).Conn()
	published, err := nc.SubscribeSync(ns.HealthSubscription("*"))
	if err != nil {
		t.Fatal(err)
	}
	m := &monitor{kept: newKept(buckettest.New(0), zerolog.Nop()), src: &source{nc: nc}, log: zerolog.Nop()}
	m.ns = ns
	reason := func(word, text string) wire.SubscriptionHealth {
		st := statusOf(0, word, 0)
		st.Reasons = []string{text}
		return st
	}
	for _, c := range []struct {
		st   wire.SubscriptionHealth
		want bool
	}{
		{statusOf(0, wire.StatusHealthy, 0), true},
		{reason(wire.StatusDegraded, "parked_events: 3"), true},
		{reason(wire.StatusDegraded, "open_breakers: the breaker is open"), false}, // is written all the same
		{statusOf(0, wire.StatusHealthy, 0), true},
	} {
		if err := m.keepStatuses(t.Context(), []wire.SubscriptionHealth{c.st}); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if n, _, err := published.Pending(); err != nil || (n == 1) != c.want {
			t.Errorf("%s, %v: %d published, %v, want one: %t", c.st.Status, c.st.Reasons, n, err, c.want)
		} else if n == 1 {
			_, _ = published.NextMsg(time.Second) // it is there
		}
	}
}

// One by one would be as many advisories as there are subscriptions.
func TestManyIssuesOfAKindAreToldInFewAdvisories(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	nc := srv.Conn()
	told, err := nc.SubscribeSync(ns.Advisory(wire.AdvIssueRaised, "*"))
	if err != nil {
		t.Fatal(err)
	}
	m := &monitor{log: zerolog.Nop()}
	m.advisor = bus.NewAdvisor(nc, ns, "healthmon-1", zerolog.Nop())
	var issues []wire.Issue
	for i := range 5000 {
		issues = append(issues, wire.Issue{Kind: wire.IssueStale, Name: fmt.Sprint("s", i)})
	}
	issues = append(issues, wire.Issue{Kind: wire.IssueGap, Name: "s1"})
	one := 0
	m.tellSome(wire.AdvIssueRaised, issues, func(wire.Issue) { one++ })
	if one != tellMost+1 {
		t.Errorf("%d were told one by one, want %d", one, tellMost+1)
	}
	a, err := told.NextMsg(5 * time.Second)
	if err != nil || a.Subject != ns.Advisory(wire.AdvIssueRaised, wire.ServiceHealthmon) {
		t.Fatalf("told %v, %v, want how many more there are", a, err)
	}
	var adv wire.Advisory
	if err := json.Unmarshal(a.Data, &adv); err != nil || adv.Data["count"] != 5000.0-tellMost || adv.Data["kind"] != wire.IssueStale {
		t.Errorf("told %s", a.Data)
	}
}
