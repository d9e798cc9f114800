package jobs

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestWhoMayClaimAReplay(t *testing.T) {
	t.Parallel()
	alive := func(instance string) bool { return instance != "dead" }
	for _, tt := range []struct {
		state wire.ReplayState
		owner string
		want  bool
	}{
		{wire.ReplayPending, "", true},
		{wire.ReplayRunning, "other", false},
		{wire.ReplayRunning, "dead", true},
		{wire.ReplayRunning, "me", true}, // it is not held: the claim was written and its answer lost
		{wire.ReplayPaused, "", false},
		{wire.ReplayPaused, "dead", false},
		{wire.ReplayFinished, "dead", false},
		{wire.ReplayFailed, "", false},
		{wire.ReplayCancelled, "dead", false},
	} {
		if got := Free(&wire.Replay{State: tt.state, Owner: tt.owner}, "me", alive); got != tt.want {
			t.Errorf("%s of %q: free = %v", tt.state, tt.owner, got)
		}
	}
}

func TestAnOrderChangesTheStateOnceAndEndsForGood(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		state wire.ReplayState
		order Order
		want  wire.ReplayState // "": nothing is to be done
		code  wire.ErrCode
	}{
		{wire.ReplayPending, Cancel, wire.ReplayCancelled, 0},
		{wire.ReplayRunning, Cancel, wire.ReplayCancelled, 0},
		{wire.ReplayPaused, Cancel, wire.ReplayCancelled, 0},
		{wire.ReplayCancelled, Cancel, "", 0},
		{wire.ReplayFinished, Cancel, "", 0},
		{wire.ReplayFailed, Cancel, "", 0},
		{wire.ReplayPending, Pause, wire.ReplayPaused, 0},
		{wire.ReplayRunning, Pause, wire.ReplayPaused, 0},
		{wire.ReplayPaused, Pause, "", 0},
		{wire.ReplayFinished, Pause, "", wire.CodeConflict},
		{wire.ReplayCancelled, Pause, "", wire.CodeConflict},
		{wire.ReplayPaused, Resume, wire.ReplayPending, 0},
		{wire.ReplayPending, Resume, "", 0},
		{wire.ReplayRunning, Resume, "", 0},
		{wire.ReplayFailed, Resume, "", wire.CodeConflict},
	} {
		now := time.Now()
		next, bad := obey(&wire.Replay{ID: "r", State: tt.state, Owner: "o", Epoch: 7}, tt.order, now)
		switch {
		case (bad != nil) != (tt.code != 0) || bad != nil && bad.ErrCode != tt.code:
			t.Errorf("%s, %s: %v, want %d", tt.state, tt.order, bad, tt.code)
		case (next == nil) != (tt.want == ""):
			t.Errorf("%s, %s: %+v, want %q", tt.state, tt.order, next, tt.want)
		case next == nil:
		case next.State != tt.want || next.Epoch != 7 || (next.EndedAt != nil) != next.State.Ended():
			t.Errorf("%s, %s: %+v, want %q", tt.state, tt.order, next, tt.want)
		case (next.Owner == "") != (tt.order == Resume):
			t.Errorf("%s, %s: the owner is %q: it has yet to write how far it came", tt.state, tt.order, next.Owner)
		}
	}
}

func TestAClaimHasAHigherEpochThanAllBefore(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ epoch, rev, want uint64 }{{0, 5, 6}, {9, 5, 10}, {5, 9, 10}} {
		before := time.Unix(1, 0)
		r := &wire.Replay{Epoch: tt.epoch, State: wire.ReplayPending, Reason: "x", ReplayTimes: wire.ReplayTimes{StartedAt: &before}}
		next := claimed(r, tt.rev, "me", time.Now())
		if next.Epoch != tt.want || next.Owner != "me" || next.State != wire.ReplayRunning || next.StartedAt != &before || next.Reason != "" {
			t.Errorf("claimed as %+v, want epoch %d", next, tt.want)
		}
	}
}

func TestAReplayEndsWithItsSubscriptionOnly(t *testing.T) {
	t.Parallel()
	r := &wire.Replay{Name: "n", UID: "u"}
	for _, tt := range []struct {
		name    string
		rec     *wire.Record
		deleted bool
		fault   bool
	}{
		{"the same", &wire.Record{UID: "u", Generation: 9, Paused: true}, false, false},
		{"another uid", &wire.Record{UID: "v"}, false, true},
		{"deleted", nil, true, true},
		{"gone without a trace", nil, false, false},
	} {
		if why := Fault(r, tt.rec, tt.deleted); (why != "") != tt.fault {
			t.Errorf("%s: %q", tt.name, why)
		}
	}
}

func TestWhatHasEndedIsKeptForAWhileAndNotForEver(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := func(ago time.Duration) *time.Time { x := now.Add(-ago); return &x }
	rs := []*wire.Replay{
		{ID: "old", State: wire.ReplayFinished, ReplayTimes: wire.ReplayTimes{EndedAt: at(Retention + time.Second)}},
		{ID: "runs", State: wire.ReplayRunning},
		{ID: "new", State: wire.ReplayFailed, ReplayTimes: wire.ReplayTimes{EndedAt: at(Retention - time.Second)}},
	}
	if over := Over(rs, now); len(over) != 1 || over[0].ID != "old" {
		t.Errorf("over: %v", over)
	}
	rs = nil
	for i := range MaxEnded + 3 {
		rs = append(rs, &wire.Replay{
			ID: fmt.Sprint(i), State: wire.ReplayCancelled,
			ReplayTimes: wire.ReplayTimes{CreatedAt: now.Add(time.Duration(i) * time.Second), EndedAt: at(0)},
		})
	}
	NewestFirst(rs)
	over := Over(rs, now)
	if len(over) != 3 || over[0].ID != "2" || over[2].ID != "0" {
		t.Errorf("%d are over, from %+v", len(over), over)
	}
}

func TestASelectorIsNarrowedAndBothHold(t *testing.T) {
	t.Parallel()
	raw := func(s string) []byte { return []byte(s) }
	for _, tt := range []struct {
		name      string
		own, also wire.Selector
		joined    wire.Selector
		rest      *wire.Selector
	}{
		{
			"all by one filter",
			wire.Selector{ByStream: wire.StringList{"$all"}},
			wire.Selector{ByStream: wire.StringList{"a.>"}},
			wire.Selector{ByStream: wire.StringList{"a.>"}},
			nil,
		},
		{
			"a part of a filter",
			wire.Selector{ByStream: wire.StringList{"b", "a.>"}},
			wire.Selector{ByStream: wire.StringList{"a.*.x", "b"}},
			wire.Selector{ByStream: wire.StringList{"a.*.x", "b"}},
			nil,
		},
		{
			"more than a filter",
			wire.Selector{ByStream: wire.StringList{"a.*"}},
			wire.Selector{ByStream: wire.StringList{"a.>"}},
			wire.Selector{ByStream: wire.StringList{"a.*"}},
			&wire.Selector{ByStream: wire.StringList{"a.>"}},
		},
		{
			"what the own has not",
			wire.Selector{ByStream: wire.StringList{"a"}},
			wire.Selector{ByEventType: wire.StringList{"t"}, ByEventPayload: raw(`{"x":1}`)},
			wire.Selector{ByStream: wire.StringList{"a"}, ByEventType: wire.StringList{"t"}, ByEventPayload: raw(`{"x":1}`)},
			nil,
		},
		{
			"what both have",
			wire.Selector{ByEventType: wire.StringList{"t"}, ByEventPayload: raw(`{"x":1}`)},
			wire.Selector{ByEventType: wire.StringList{"u"}, ByEventPayload: raw(`{"y":1}`), ByEventPattern: raw(`{"type":"t"}`)},
			wire.Selector{ByEventType: wire.StringList{"t"}, ByEventPayload: raw(`{"x":1}`), ByEventPattern: raw(`{"type":"t"}`)},
			&wire.Selector{ByEventType: wire.StringList{"u"}, ByEventPayload: raw(`{"y":1}`)},
		},
		{
			"all narrowed by all",
			wire.Selector{ByStream: wire.StringList{"a"}},
			wire.Selector{ByStream: wire.StringList{"$all"}},
			wire.Selector{ByStream: wire.StringList{"a"}},
			&wire.Selector{ByStream: wire.StringList{"$all"}},
		},
	} {
		joined, rest := Narrow(tt.own, &tt.also)
		if diff := cmp.Diff([]any{joined, rest}, []any{tt.joined, tt.rest}); diff != "" {
			t.Errorf("%s (-got +want):\n%s", tt.name, diff)
		}
		if _, err := selector.Compile(joined); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
