package registry

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	viewTimeout  = 500 * time.Millisecond // how long a list waits for the view to be current
	viewPoll     = 2 * time.Millisecond
	stateReaders = 16        // pool entries read at the same time for one list
	fewRows      = 64        // pool entries that are read one by one for a page; for more it is cheaper to know all
	answerRoom   = 16 * 1024 // bytes of the largest payload that are kept for what is around a list
)

func (s *api) list(ctx context.Context, r *request) (any, *wire.Error) {
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
	if req.State != "" {
		if err := s.readStates(ctx, st); err != nil {
			return nil, s.failed(r, err)
		}
	}
	total, page := s.view.page(req.Offset, req.Limit, wanted(req, st.states))
	subs, err := s.show(ctx, st, req, page)
	if err != nil {
		return nil, s.failed(r, err)
	}
	answer := wire.ListResponse{Head: head(r), Total: total, Offset: req.Offset, Limit: req.Limit, Subscriptions: subs}
	if fits := s.fitting(subs); fits < len(subs) {
		answer.Subscriptions, answer.Limit = subs[:fits], fits
	}
	return answer, nil
}

// wanted says which records a list shows; nil is all.
func wanted(req wire.ListRequest, st *states) func(*wire.Record) bool {
	if req.Store == "" && len(req.Labels) == 0 && req.State == "" {
		return nil
	}
	return func(rec *wire.Record) bool {
		return listed(req, rec) && (req.State == "" || state(rec, st.get(rec.Name)) == req.State)
	}
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
func (s *api) catchUp(ctx context.Context, st *stores) error {
	status, err := st.subs.Status(ctx)
	if err != nil {
		return err
	}
	var last uint64
	if bs, ok := status.(*jetstream.KeyValueBucketStatus); ok {
		last = bs.StreamInfo().State.LastSeq
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

// readStates brings the states of all pools up to date. Where that takes too long
// the next list goes on, and JetStream, which answers, is not taken for away.
func (s *api) readStates(ctx context.Context, st *stores) error {
	var slow error
	err := s.gate.do(ctx, func(ctx context.Context) error {
		before := st.states.revision()
		err := st.states.refresh(ctx)
		if err != nil && st.states.revision() > before {
			slow, err = err, nil
		}
		return err
	})
	if slow != nil {
		s.log.Warn().Err(slow).Msg("the states of all pools could not be read in the time of one list")
		return wire.Errorf(wire.CodeUnavailable, "the states of all pools could not be read in time: ask again, and the rest will be read")
	}
	return err
}

// show makes the rows of an answer.
func (s *api) show(ctx context.Context, st *stores, req wire.ListRequest, page []row) ([]wire.ListedSubscription, error) {
	stateOf := s.stateReader(st)
	switch {
	case req.State != "":
		stateOf = func(context.Context, *wire.Record) (string, error) { return req.State, nil }
	case len(page) > fewRows:
		if err := s.readStates(ctx, st); err != nil {
			return nil, err
		}
		stateOf = func(_ context.Context, rec *wire.Record) (string, error) {
			return state(rec, st.states.get(rec.Name)), nil
		}
	}
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

type stateReader func(context.Context, *wire.Record) (string, error)

// stateReader reads pool entries one by one.
func (s *api) stateReader(st *stores) stateReader {
	return func(ctx context.Context, rec *wire.Record) (string, error) {
		e, err := st.pools.Get(ctx, rec.Name)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			return state(rec, poolState{}), nil
		case err != nil:
			return "", err
		}
		return state(rec, decodeState(subscription.EntryOf(e))), nil
	}
}

// fitting returns how many of the first subscriptions one message can carry;
// at least one, where there is any.
func (s *api) fitting(subs []wire.ListedSubscription) int {
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
