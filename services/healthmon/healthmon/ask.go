package healthmon

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

// statusChunk bounds how many pools one question to an emitter is about, so
// that the answer fits a message.
const statusChunk = 500

// confirmMost bounds the entries that are read again since their owners did not list
// them: claims that move while they are asked are as many as emitters can make.
const confirmMost = 2000

// statuses asks the live owners how their pools are, and notes who answered about
// which pool, and by what clock. An owner that does not answer leaves its pools
// without a status, and nothing is known of them.
func (s *source) statuses(ctx context.Context, snap *check.Snapshot) {
	owned := map[string][]string{}
	for _, p := range snap.Pools {
		if p.Pool != nil && snap.Emitters[p.Pool.Owner] {
			owned[p.Pool.Owner] = append(owned[p.Pool.Owner], p.Key)
		}
	}
	out, answered := make(map[string]wire.PoolStatus, len(snap.Pools)), make(map[string]string, len(snap.Pools))
	clocks := map[string]check.Clock{}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(parallel)
	for owner, names := range owned {
		g.Go(func() error {
			for chunk := range slices.Chunk(names, statusChunk) {
				from := s.clock.local()
				answer, err := s.ask(ctx, owner, chunk)
				to := s.clock.local()
				if err != nil {
					s.log.Warn().Err(err).Str("emitter", owner).Msg("emitter does not tell how its pools are")
					return nil
				}
				mu.Lock()
				for _, n := range chunk {
					answered[n] = owner
				}
				for _, p := range answer.Pools {
					out[p.Name] = p
				}
				if answer.At != nil {
					clocks[owner] = s.clock.other(wire.ServiceEmitter, *answer.At, from, to)
				}
				mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait()
	s.confirmMissing(ctx, snap, out, answered)
	snap.Statuses, snap.Answered, snap.Clocks = out, answered, clocks
}

// confirmMissing reads the entries again of pools that their owners did not
// list by the claim that the local copy shows: it may be an older one.
func (s *source) confirmMissing(ctx context.Context, snap *check.Snapshot, out map[string]wire.PoolStatus, answered map[string]string) {
	var doubtful []check.Pool
	for _, p := range snap.Pools {
		if st := out[p.Key]; answered[p.Key] != "" && (st.UID != p.Pool.UID || st.Epoch != p.Pool.Epoch) {
			if len(doubtful) == confirmMost {
				delete(answered, p.Key) // nothing is known of it
				continue
			}
			doubtful = append(doubtful, p)
		}
	}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, p := range doubtful {
		g.Go(func() error {
			_, now, err := s.fresh(ctx, p.Key)
			if err == nil && now != nil && now.Pool != nil && now.Pool.UID == p.Pool.UID && now.Pool.Epoch == p.Pool.Epoch {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			delete(answered, p.Key)
			return nil
		})
	}
	_ = g.Wait()
}

// status asks the owner of a subscription's pool anew how it is; nil where
// nobody who lives has the pool.
func (s *source) status(ctx context.Context, rec *wire.Record) (*wire.PoolStatus, error) {
	_, p, err := s.fresh(ctx, rec.Name)
	if err != nil {
		return nil, err
	}
	if p == nil || p.Pool == nil || p.Pool.UID != rec.UID {
		return nil, nil
	}
	for _, e := range s.emitters() {
		if e.Instance == p.Pool.Owner {
			return s.owner(ctx, p.Pool)
		}
	}
	return nil, nil
}

// owner asks the owner of a pool anew how it is; nil where it answers and does
// not have the pool, by the claim that p shows.
func (s *source) owner(ctx context.Context, p *wire.Pool) (*wire.PoolStatus, error) {
	answer, err := s.ask(ctx, p.Owner, []string{p.Name})
	if err != nil {
		return nil, err
	}
	for i := range answer.Pools {
		if st := &answer.Pools[i]; st.Name == p.Name && st.UID == p.UID && st.Epoch == p.Epoch {
			return st, nil
		}
	}
	return nil, nil
}

func (s *source) ask(ctx context.Context, owner string, names []string) (*wire.PoolsResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return bus.AskPools(ctx, s.nc, s.ns, owner, names...)
}

// stores looks at every store that a record names. One that cannot be asked
// is unknown, and takes nothing from the others.
func (s *source) stores(ctx context.Context, snap *check.Snapshot) map[string]check.Store {
	out := map[string]check.Store{}
	for _, r := range snap.Records {
		if r.Record != nil {
			out[r.Record.Spec.Store] = check.Store{Reason: "not asked"}
		}
	}
	names := make([]string, 0, len(out))
	for name := range out {
		names = append(names, name)
	}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, name := range names {
		g.Go(func() error {
			st := s.lookAt(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			out[name] = st
			return nil
		})
	}
	_ = g.Wait()
	return out
}

func (s *source) lookAt(ctx context.Context, name string) check.Store {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := subscription.Inspect(ctx, s.js, name)
	switch {
	case errors.Is(err, subscription.ErrNoStore):
		return check.Store{Known: true}
	case err != nil:
		err = jsapi.Denied(s.nc, "STREAM.INFO."+name+`"`, err)
		s.log.Warn().Err(err).Str("store", name).Msg("store cannot be looked at")
		return check.Store{Reason: err.Error(), Refused: refusal(err)}
	}
	return check.Store{Known: true, Exists: true, Created: info.Created, First: info.First, Last: info.Last}
}

// unread finds, for each pool that the numbers say is behind its store, the
// first event that it has not read. Sequences at the end of a store can be
// deleted, so the numbers alone prove nothing.
func (s *source) unread(ctx context.Context, snap *check.Snapshot) {
	type place struct {
		store string
		seq   uint64
	}
	wanted := map[place][]int{}
	refused := map[string]string{} // by store
	var mu sync.Mutex
	index := make(map[string]int, len(snap.Pools))
	for i, p := range snap.Pools {
		index[p.Key] = i
	}
	for _, r := range snap.Records {
		i, ok := index[r.Key]
		if r.Record == nil || !ok || snap.Pools[i].Pool == nil || snap.Pools[i].Pool.UID != r.Record.UID {
			continue
		}
		from := snap.Pools[i].Pool.Checkpoint.Floor + 1
		if st, ok := snap.Statuses[r.Key]; ok && st.UID == r.Record.UID {
			from = st.Position + 1
		}
		st := snap.Stores[r.Record.Spec.Store]
		sameStore := r.Record.StoreCreated.IsZero() || st.Created.Equal(r.Record.StoreCreated)
		from = max(from, st.First, 1)
		if st.Known && st.Exists && sameStore && from <= st.Last {
			at := place{r.Record.Spec.Store, from}
			wanted[at] = append(wanted[at], i)
		}
	}
	var g errgroup.Group
	g.SetLimit(parallel)
	for at, pools := range wanted {
		g.Go(func() error {
			next, denied := s.next(ctx, at.store, at.seq)
			for _, i := range pools { // a pool is wanted at one place only
				snap.Pools[i].Next = next
			}
			mu.Lock()
			defer mu.Unlock()
			refused[at.store] = cmp.Or(refused[at.store], denied)
			return nil
		})
	}
	_ = g.Wait()
	for name, why := range refused {
		st := snap.Stores[name]
		st.Refused = why
		snap.Stores[name] = st
	}
}

// next is the first event at or after seq; denied is why it may not be read.
// What an event says of itself steers nothing: the leader answers with JSON.
func (s *source) next(ctx context.Context, store string, seq uint64) (next check.Next, denied string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := jsapi.GetMsg(ctx, s.js, store, map[string]any{"seq": seq, "next_by_subj": ">", "no_hdr": true})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return check.Next{}, ""
	case err != nil:
		s.log.Warn().Err(err).Str("store", store).Uint64("sequence", seq).Msg("event cannot be looked at")
		return check.Next{Behind: true, Sequence: seq, Fault: err.Error()}, refusal(err)
	}
	return check.Next{Behind: true, Sequence: m.Sequence, At: m.Time.UTC()}, ""
}

// refusal is the text of an error by which the server refused something, "" of
// one that only says that no answer came.
func refusal(err error) string {
	var api *jetstream.APIError
	if errors.As(err, &api) || errors.Is(err, nats.ErrPermissionViolation) {
		return err.Error()
	}
	return ""
}

// parked counts the parked events of every subscription.
func (s *source) parked(ctx context.Context) (map[string]uint64, bool) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	st, err := s.js.Stream(ctx, s.ns.StreamParked())
	if err != nil {
		s.log.Warn().Err(err).Msg("parked events cannot be counted")
		return nil, false
	}
	info, err := st.Info(ctx, jetstream.WithSubjectFilter(s.ns.Parked("*")))
	if err != nil {
		s.log.Warn().Err(err).Msg("parked events cannot be counted")
		return nil, false
	}
	prefix := s.ns.Parked("")
	out := make(map[string]uint64, len(info.State.Subjects))
	for subject, n := range info.State.Subjects {
		if name, ok := strings.CutPrefix(subject, prefix); ok {
			out[name] = n
		}
	}
	return out, true
}

// listeners asks who listens on the delivery subjects, and asks a second time
// where nobody does.
func (s *source) listeners(ctx context.Context, snap *check.Snapshot) map[string]check.Listeners {
	seen, subjects := make(map[string]bool, len(snap.Records)), make([]string, 0, len(snap.Records))
	for _, r := range snap.Records {
		if r.Record == nil || r.Record.Spec.Deliver.HTTP != nil {
			continue
		}
		if subject := r.Record.Spec.Deliver.Subject; !seen[subject] {
			seen[subject] = true
			subjects = append(subjects, subject)
		}
	}
	slices.Sort(subjects)
	out := make(map[string]check.Listeners, len(subjects))
	silent := s.probe(ctx, subjects, out)
	if len(silent) == 0 {
		return out
	}
	select {
	case <-time.After(confirmAfter):
	case <-ctx.Done():
		return nil
	}
	s.probe(ctx, silent, out)
	return out
}

// probe asks once, writes what it learns to out, and returns the subjects on
// which nobody listens.
func (s *source) probe(ctx context.Context, subjects []string, out map[string]check.Listeners) (silent []string) {
	found, err := s.prober.Probe(ctx, subjects)
	if err != nil {
		s.log.Warn().Err(err).Msg("presence of subscribers cannot be asked")
	}
	for _, subject := range subjects {
		l, ok := found[subject]
		if !ok {
			delete(out, subject) // not known, whatever an earlier probe said
			continue
		}
		out[subject] = check.Listeners{
			Known: l.Known, Count: l.Subscriptions, Streams: l.Streams, Detail: cmp.Or(l.Reason, strings.Join(l.Streams, ",")),
		}
		if l.None("") {
			silent = append(silent, subject)
		}
	}
	return silent
}
