package jobs

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// world is a replay, and the instances that run it, die, sleep and wake up, while
// users give orders and answers of the bucket are lost.
type world struct {
	t     *rapid.T
	kv    *buckettest.KV
	store *Store

	lose  bool // the answer of the next write
	alive map[string]bool
	held  map[string]*Held // also those of instances that only sleep

	// what must hold
	last wire.Replay // as it was stored last
}

var errLostAnswer = errors.New("no answer")

func newWorld(t *rapid.T) *world {
	w := &world{t: t, kv: buckettest.New(0), alive: map[string]bool{"a": true, "b": true, "c": true}, held: map[string]*Held{}}
	w.kv.After = func(_ context.Context, op, _ string) error {
		if op == "update" && w.lose {
			w.lose = false
			return errLostAnswer
		}
		return nil
	}
	w.store = NewStore(w.kv, wire.DefaultNamespace)
	now := time.Now().UTC()
	spec := subscription.Default()
	spec.Store, spec.Deliver.Subject, spec.Selector.ByStream = "S", "out", wire.StringList{"$all"}
	err := w.store.Create(context.Background(), &wire.Replay{
		Schema: 1, ID: "r", Name: "n", UID: "u", FromSequence: 1, ToSequence: 1000, Spec: spec, State: wire.ReplayPending,
		ReplayTimes: wire.ReplayTimes{CreatedAt: now, UpdatedAt: now},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// look holds what is stored now against what was stored before.
func (w *world) look() wire.Replay {
	r, _, err := w.store.Get(context.Background(), "r")
	if err != nil {
		w.t.Fatal(err)
	}
	before := w.last
	w.last = *r
	switch {
	case before.ID == "":
	case before.State.Ended() && (r.State != before.State || !r.EndedAt.Equal(*before.EndedAt)):
		w.t.Fatalf("it was %s and is %s", before.State, r.State)
	case r.Epoch < before.Epoch:
		w.t.Fatalf("the epoch fell from %d to %d", before.Epoch, r.Epoch)
	case r.Epoch == before.Epoch && r.Owner != before.Owner && r.Owner != "":
		w.t.Fatalf("two owners under epoch %d: %s and %s", r.Epoch, before.Owner, r.Owner)
	case r.Checkpoint.Floor < before.Checkpoint.Floor || r.Finished < before.Finished:
		w.t.Fatalf("progress fell from %d to %d", before.Checkpoint.Floor, r.Checkpoint.Floor)
	}
	if r.Checkpoint.Floor != r.Finished {
		w.t.Fatalf("%d finished at floor %d: they are not of one moment", r.Finished, r.Checkpoint.Floor)
	}
	return *r
}

func (w *world) pick() string {
	return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(w.t, "instance")
}

func (w *world) claim(*rapid.T) {
	me := w.pick()
	if !w.alive[me] || w.held[me] != nil {
		return
	}
	before := w.look()
	h, err := w.store.Claim(context.Background(), "r", me, func(i string) bool { return w.alive[i] })
	switch {
	case errors.Is(err, ErrTaken):
		if Free(&before, me, func(i string) bool { return w.alive[i] }) {
			w.t.Fatalf("%s may claim it, and cannot: %+v", me, before)
		}
	case err != nil:
		w.t.Fatal(err)
	default:
		if h.Epoch <= before.Epoch || h.Checkpoint.Floor != before.Checkpoint.Floor {
			w.t.Fatalf("claimed %+v after %+v", h.Replay, before)
		}
		w.held[me] = h
	}
}

// save has an instance write progress, as a play does. An instance that slept does
// not know yet that others have claimed the replay.
func (w *world) save(*rapid.T) {
	me := w.pick()
	h := w.held[me]
	if h == nil {
		return
	}
	before := w.look()
	done := h.Checkpoint.Floor + rapid.Uint64Range(0, 5).Draw(w.t, "done")
	ends := rapid.IntRange(0, 9).Draw(w.t, "ends") == 0
	err := w.store.Save(context.Background(), h, func(r *wire.Replay) {
		r.Checkpoint.Floor, r.Finished = done, done
		if ends && r.State == wire.ReplayRunning {
			at := time.Now().UTC()
			r.State, r.Owner, r.EndedAt = wire.ReplayFinished, "", &at
		}
	})
	rightful := before.Owner == me && before.Epoch == h.Epoch
	switch {
	case rightful && err != nil:
		w.t.Fatalf("the owner cannot write: %v", err)
	case !rightful && !errors.Is(err, ErrLost):
		w.t.Fatalf("%s wrote under epoch %d over %+v: %v", me, h.Epoch, before, err)
	case err != nil, h.State != wire.ReplayRunning:
		delete(w.held, me) // it stops
	}
}

func (w *world) order(*rapid.T) {
	o := rapid.SampledFrom([]Order{Pause, Resume, Resume, Resume, Cancel}).Draw(w.t, "order")
	if o == Cancel && rapid.IntRange(0, 3).Draw(w.t, "really") > 0 {
		o = Pause
	}
	before := w.look()
	r, changed, err := w.store.Obey(context.Background(), "r", o)
	var refused *wire.Error
	switch {
	case errors.As(err, &refused):
		if !before.State.Ended() {
			w.t.Fatalf("%s of %s: %v", o, before.State, err)
		}
	case err != nil:
		w.t.Fatal(err)
	case changed == (r.State == before.State):
		w.t.Fatalf("%s of %s: %s, changed %v", o, before.State, r.State, changed)
	}
}

func TestAReplayHasOneOwnerAndNeverGoesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"claim": w.claim,
			"save":  w.save,
			"again": w.save,
			"order": w.order,
			"die":   func(*rapid.T) { me := w.pick(); w.alive[me] = false; delete(w.held, me) },
			"sleep": func(*rapid.T) { w.alive[w.pick()] = false }, // it wakes up by saving
			"start": func(*rapid.T) {
				me := w.pick()
				if w.held[me] == nil {
					w.alive[me] = true
				}
			},
			"lose an answer": func(*rapid.T) { w.lose = true },
			"":               func(*rapid.T) { w.look() },
		})
	})
}

func TestAnEntryThatCannotBeReadIsNobodysClaim(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		h, err := w.store.Claim(context.Background(), "r", "a", func(string) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.kv.Update(context.Background(), "r", []byte(rapid.SampledFrom([]string{"", "{", `{"id":"x"}`, `{"owner":">"}`}).Draw(t, "value")), h.Revision); err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.Claim(context.Background(), "r", "b", func(string) bool { return false }); err == nil || errors.Is(err, ErrTaken) {
			t.Fatalf("it was claimed by what it says: %v", err)
		}
		if err := w.store.Save(context.Background(), h, func(r *wire.Replay) { r.Sent++ }); err != nil {
			t.Fatal(fmt.Errorf("its owner cannot write it back: %w", err))
		}
	})
}
