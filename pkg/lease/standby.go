package lease

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

// standby is what a candidate knows of the lease that another holds. It is used
// by one goroutine.
type standby struct {
	cfg        LeaderConfig
	reconnects reconnects

	rev    uint64    // the revision of the lease
	seenAt time.Time // when we first saw that revision
	misses int       // probes in a row that found nobody, since then
	calm   time.Time // misses count from then on
}

func newStandby(cfg LeaderConfig) *standby {
	return &standby{cfg: cfg, reconnects: countReconnects(cfg.NATS)}
}

// mayTake reports whether the lease, as just read, is to be taken: it is free,
// or ours from a write whose answer was lost; or another's, and either not
// renewed for a TTL of our own clock since we first saw it, which is after its
// holder sent it, or its holder's process is gone.
func (s *standby) mayTake(h held, now time.Time) bool {
	if h.rev == 0 || h.lease.Instance == s.cfg.Instance {
		return true
	}
	if h.rev != s.rev {
		s.rev, s.seenAt, s.misses = h.rev, now, 0
	}
	return s.misses >= deadAfter || s.left(now) <= 0
}

// left is how long the lease lasts at most, unless it is renewed.
func (s *standby) left(now time.Time) time.Duration {
	return max(0, s.cfg.TTL-now.Sub(s.seenAt))
}

// probe asks whether the leader's process is there. Silence says nothing, only
// the server's word that nobody listens does; for a while after our own connection
// came back not even that, since others come back one by one.
func (s *standby) probe(ctx context.Context, h held) {
	if s.cfg.NATS == nil || h.lease.Epoch == 0 || !wire.ValidName(h.lease.Instance) {
		return
	}
	if s.reconnects.moved() {
		s.calm = time.Now().Add(settle(s.cfg.TTL))
	}
	ctx, cancel := context.WithTimeout(ctx, defaultProbeEvery)
	defer cancel()
	_, err := s.cfg.NATS.RequestWithContext(ctx, s.cfg.Namespace.Session(s.cfg.Service, h.lease.Instance), nil)
	switch {
	case err == nil:
		s.misses = 0
	case errors.Is(err, nats.ErrNoResponders) && !time.Now().Before(s.calm):
		s.misses++
	}
}
