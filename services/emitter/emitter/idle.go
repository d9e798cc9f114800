package emitter

import (
	"bytes"
	"time"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
)

// findIdle looks for pools that other instances should claim and do not, and
// leaves those out of the hashing that have had their time.
func (s *Service) findIdle(now time.Time) {
	if !s.session.Valid() || !s.synced() {
		return
	}
	live := s.candidates()
	s.idle.Live(live, now)
	if len(live) < 2 && !s.idle.Any() {
		return
	}
	for _, name := range s.stored() {
		candidates := s.idle.Candidates(name, live)
		rightful := claim.Rightful(name, candidates)
		if rightful == s.instance || rightful == "" || !s.waits(name, rightful) {
			s.idle.Settled(name)
			continue
		}
		left := s.idle.Waits(claim.Waiting{
			Name: name, Candidates: candidates, Me: s.instance, Owned: s.owned,
		}, now)
		for _, instance := range left {
			s.log.Warn().Str("subscription", name).Str("idle", instance).
				Msg("an instance does not claim a pool that it should have, it is passed over")
		}
		if len(left) > 0 {
			s.dirty(name)
		}
	}
}

// waits reports whether a pool would be claimed or removed here, if it were not
// another's who should do it.
func (s *Service) waits(name, rightful string) bool {
	if s.holding(name) != nil {
		return false
	}
	if e, ok := s.poolCopy.Get(name); ok && !e.Deleted && !s.idle.Any() &&
		bytes.Contains(e.Value, []byte(`"owner":"`+rightful+`"`)) {
		return false // as nearly always, and cheap to tell
	}
	v := claim.View{Me: s.instance, Rightful: s.instance}
	s.decode(&v, name)
	return claim.Decide(v) != claim.None
}

// owned are the epochs of the pools that the entries show as an instance's.
func (s *Service) owned(instance string) map[string]uint64 {
	owned := map[string]uint64{}
	for _, e := range s.poolCopy.Live() {
		if !bytes.Contains(e.Value, []byte(instance)) {
			continue
		}
		if p, err := subscription.DecodePool(subscription.Mirrored(e)); err == nil && p.Owner == instance {
			owned[e.Key] = p.Epoch
		}
	}
	return owned
}
