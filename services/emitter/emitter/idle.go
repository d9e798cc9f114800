package emitter

import (
	"bytes"
	"time"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
)

// passOver looks for pools that other instances should claim and do not, and
// leaves those instances out of the hashing that have had their time. It returns
// the pools that are somebody else's by that.
func (w *viewer) passOver(now time.Time) (names []string) {
	live := w.candidates()
	w.idle.Live(live, now)
	if len(live) < 2 && !w.idle.Any() {
		return nil
	}
	for _, name := range w.copies.names() {
		candidates := w.idle.Candidates(name, live)
		rightful := claim.Rightful(name, candidates)
		if rightful == w.me || rightful == "" || !w.waits(name, rightful) {
			w.idle.Settled(name)
			continue
		}
		left := w.idle.Waits(claim.Waiting{
			Name: name, Candidates: candidates, Me: w.me, Owned: w.owned,
		}, now)
		for _, instance := range left {
			w.log.Warn().Str("subscription", name).Str("idle", instance).
				Msg("an instance does not claim a pool that it should have, it is passed over")
		}
		if len(left) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// waits reports whether a pool would be claimed or removed here, if it were not
// another's who should do it.
func (w *viewer) waits(name, rightful string) bool {
	if w.holdings.of(name) != nil {
		return false
	}
	if e, ok := w.copies.pools.Get(name); ok && !e.Deleted && !w.idle.Any() &&
		bytes.Contains(e.Value, []byte(`"owner":"`+rightful+`"`)) {
		return false // as nearly always, and cheap to tell
	}
	v := claim.View{Me: w.me, Rightful: w.me}
	w.decode(&v, name)
	return claim.Decide(v) != claim.None
}

// owned are the epochs of the pools that the entries show as an instance's.
func (w *viewer) owned(instance string) map[string]uint64 {
	owned := map[string]uint64{}
	for _, e := range w.copies.pools.Live() {
		if !bytes.Contains(e.Value, []byte(instance)) {
			continue
		}
		if p, err := subscription.DecodePool(subscription.Mirrored(e)); err == nil && p.Owner == instance {
			owned[e.Key] = p.Epoch
		}
	}
	return owned
}
