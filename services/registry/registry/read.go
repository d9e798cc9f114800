package registry

import (
	"context"
	"errors"
	"time"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// statusTimeout bounds the question to a pool's owner.
const statusTimeout = 100 * time.Millisecond

func (s *api) get(ctx context.Context, r *request) (any, *wire.Error) {
	if bad := subscription.DecodeEmpty(r.body, r.name); bad != nil {
		return nil, bad
	}
	st, bad := s.stores()
	if bad != nil {
		return nil, bad
	}
	rec, rev, err := st.records().Get(ctx, r.name)
	if err != nil {
		return nil, s.failed(r, err)
	}
	sub := rec.Subscription(rev)
	answer := wire.GetResponse{Head: head(r), Subscription: &sub}
	pool, _, err := st.entries().Get(ctx, r.name)
	var corrupt *subscription.CorruptError
	switch {
	case errors.Is(err, subscription.ErrNotFound), errors.As(err, &corrupt):
		return answer, nil // the monitor reports what cannot be read
	case err != nil:
		return nil, s.failed(r, err)
	case pool.UID != rec.UID:
		return answer, nil // the pool is of an earlier subscription of that name
	}
	answer.Pool = pool
	answer.Status = s.status(ctx, pool)
	return answer, nil
}

// status asks the pool's owner how the pool is doing; nil where it does not say.
func (s *api) status(ctx context.Context, pool *wire.Pool) *wire.PoolStatus {
	if !wire.ValidName(pool.Owner) {
		return nil // free, or nothing that could be part of a subject
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	answer, err := bus.AskPools(ctx, s.nc, s.ns, pool.Owner, pool.Name)
	if err != nil { // busy or gone: an answer without it is still an answer
		s.log.Debug().Err(err).Msg("pool status not known")
		return nil
	}
	for i := range answer.Pools {
		if p := &answer.Pools[i]; p.Name == pool.Name && p.UID == pool.UID {
			return p
		}
	}
	return nil
}
