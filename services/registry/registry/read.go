package registry

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	statusTimeout = 100 * time.Millisecond // of the question to a pool's owner
	viewTimeout   = 500 * time.Millisecond // of the wait for the view to be current
	viewPoll      = 2 * time.Millisecond
	stateReaders  = 16        // pool entries read at the same time for one list
	answerRoom    = 16 * 1024 // of the largest payload, kept for a list's frame
)

func (s *Service) get(ctx context.Context, r *request) (any, *wire.Error) {
	if bad := subscription.DecodeEmpty(r.body, r.name); bad != nil {
		return nil, bad
	}
	st, bad := s.stores()
	if bad != nil {
		return nil, bad
	}
	rec, rev, err := s.read(ctx, st, r.name)
	if err != nil {
		return nil, s.failed(r, err)
	}
	sub := rec.Subscription(rev)
	answer := wire.GetResponse{Head: head(r), Subscription: &sub}
	pool, _, err := s.readPool(ctx, st, r.name)
	var corrupt *subscription.CorruptError
	switch {
	case errors.Is(err, subscription.ErrNotFound), errors.As(err, &corrupt):
		return answer, nil // the monitor reports what cannot be read
	case err != nil:
		return nil, s.failed(r, err)
	case pool.UID != rec.UID:
		return answer, nil // of an earlier subscription of that name
	}
	answer.Pool = pool
	answer.Status = s.status(ctx, pool)
	return answer, nil
}

// status asks the pool's owner how the pool is doing; nil where it does not say.
func (s *Service) status(ctx context.Context, pool *wire.Pool) *wire.PoolStatus {
	if !wire.ValidName(pool.Owner) {
		return nil // free, or nothing that could be part of a subject
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	body, err := wire.Marshal(map[string][]string{"names": {pool.Name}})
	if err != nil {
		return nil
	}
	msg, err := s.nc.RequestWithContext(ctx, s.ns.EmitterPools(pool.Owner), body)
	if err != nil {
		return nil // busy or gone: an answer without it is still an answer
	}
	var answer struct {
		Pools []wire.PoolStatus `json:"pools"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		s.log.Warn().Err(err).Str("instance", pool.Owner).Msg("pool status not understood")
		return nil
	}
	for i := range answer.Pools {
		if p := &answer.Pools[i]; p.Name == pool.Name && p.UID == pool.UID {
			return p
		}
	}
	return nil
}

func (s *Service) list(ctx context.Context, r *request) (any, *wire.Error) {
	req, bad := subscription.DecodeList(r.body)
	if bad != nil {
		return nil, bad
	}
	st, bad := s.stores()
	if bad != nil {
		return nil, bad
	}
	if err := s.catchUp(ctx, st); err != nil {
		return nil, s.failed(r, err)
	}
	rows := s.view.rows(func(rec *wire.Record) bool { return listed(req, rec) })
	stateOf := s.stateReader(st)
	if req.State != "" {
		all, err := s.snapshot(ctx, st)
		if err != nil {
			return nil, s.failed(r, err)
		}
		stateOf = func(_ context.Context, rec *wire.Record) (string, error) { return state(rec, all[rec.Name]), nil }
		rows = inState(rows, req.State, all)
	}
	page := rows[min(req.Offset, len(rows)):]
	page = page[:min(req.Limit, len(page))]
	subs, err := s.show(ctx, page, stateOf)
	if err != nil {
		return nil, s.failed(r, err)
	}
	answer := wire.ListResponse{Head: head(r), Total: len(rows), Offset: req.Offset, Limit: req.Limit, Subscriptions: subs}
	if fits := s.fitting(subs); fits < len(subs) {
		answer.Subscriptions, answer.Limit = subs[:fits], fits
	}
	return answer, nil
}

func listed(req wire.ListRequest, rec *wire.Record) bool {
	if req.Store != "" && rec.Spec.Store != req.Store {
		return false
	}
	for k, v := range req.Labels {
		if have, ok := rec.Spec.Labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// catchUp waits until the view has everything that was written before the
// list was asked for, by whichever registry.
func (s *Service) catchUp(ctx context.Context, st *stores) error {
	var last uint64
	err := s.gate.do(ctx, func(ctx context.Context) error {
		status, err := st.buckets.Subscriptions.Status(ctx)
		if bs, ok := status.(*jetstream.KeyValueBucketStatus); ok && err == nil {
			last = bs.StreamInfo().State.LastSeq
		}
		return err
	})
	if err != nil {
		return err
	}
	late := time.NewTimer(viewTimeout)
	defer late.Stop()
	poll := time.NewTicker(viewPoll)
	defer poll.Stop()
	// The mirror tells the view of a change just after it shows it itself, and
	// tells nothing of an entry that changes nothing.
	for grace := 2; s.view.newest() < last && grace > 0; {
		select {
		case <-poll.C:
			if st.mirror.Last() >= last {
				grace--
			}
		case <-ctx.Done():
			return errAway
		case <-late.C:
			// The last entries were removed from the bucket, or the watch is
			// behind: have it list anew, and show what is there.
			st.mirror.Kick()
			return nil
		}
	}
	return nil
}

// poolState is what a list shows of a pool entry.
type poolState struct {
	uid   string
	owner string
	state wire.PoolState
}

// state is the state of a subscription in a list.
func state(rec *wire.Record, p poolState) string {
	switch {
	case rec.Paused:
		return string(wire.PoolPaused)
	case p.uid != rec.UID || p.owner == "":
		return wire.StateUnclaimed
	default:
		return string(p.state)
	}
}

func inState(rows []row, want string, pools map[string]poolState) []row {
	var kept []row
	for _, r := range rows {
		if state(r.record, pools[r.record.Name]) == want {
			kept = append(kept, r)
		}
	}
	return kept
}

// snapshot reads all pool entries at once. They change several times a second
// each, so they are not mirrored.
func (s *Service) snapshot(ctx context.Context, st *stores) (map[string]poolState, error) {
	pools := make(map[string]poolState)
	err := s.gate.do(ctx, func(ctx context.Context) error {
		return st.buckets.Pools.List(ctx, bucket.Following{Purpose: "lists pools", Log: s.log, Entry: func(e jetstream.KeyValueEntry) {
			delete(pools, e.Key())
			if e.Operation() == jetstream.KeyValuePut {
				pools[e.Key()] = decodeState(subscription.EntryOf(e))
			}
		}})
	})
	return pools, err
}

func decodeState(e subscription.Entry) poolState {
	p, err := subscription.DecodePool(e)
	if err != nil {
		return poolState{} // as good as unclaimed; the monitor reports it
	}
	return poolState{p.UID, p.Owner, p.State}
}

type stateReader func(context.Context, *wire.Record) (string, error)

func (s *Service) stateReader(st *stores) stateReader {
	return func(ctx context.Context, rec *wire.Record) (string, error) {
		var p poolState
		err := s.gate.do(ctx, func(ctx context.Context) error {
			e, err := st.buckets.Pools.Get(ctx, rec.Name)
			switch {
			case errors.Is(err, jetstream.ErrKeyNotFound):
				return nil
			case err != nil:
				return err
			}
			p = decodeState(subscription.EntryOf(e))
			return nil
		})
		return state(rec, p), err
	}
}

func (s *Service) show(ctx context.Context, page []row, stateOf stateReader) ([]wire.ListedSubscription, error) {
	subs := make([]wire.ListedSubscription, len(page))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(stateReaders)
	for i, row := range page {
		g.Go(func() error {
			state, err := stateOf(ctx, row.record)
			subs[i] = wire.ListedSubscription{Subscription: row.record.Subscription(row.revision), State: state}
			return err
		})
	}
	return subs, g.Wait()
}

// fitting returns how many of the first subscriptions one message can carry;
// at least one, where there is any.
func (s *Service) fitting(subs []wire.ListedSubscription) int {
	room := s.nc.MaxPayload() - answerRoom
	for i := range subs {
		b, err := wire.Marshal(&subs[i])
		if err != nil {
			return i
		}
		if room -= int64(len(b)) + 1; room < 0 {
			return max(i, 1)
		}
	}
	return len(subs)
}
