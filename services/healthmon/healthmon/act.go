package healthmon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
	"github.com/sluicehq/sluice/services/healthmon/internal/repair"
)

// Outcomes of a repair.
const (
	outcomeDone    = "done"
	outcomeFailed  = "failed"
	outcomeWouldDo = "would_do"
	outcomeNothing = "nothing_to_do"
	outcomeGivenUp = "given_up"
	outcomeStarted = "started" // kept before the act, and replaced by what came of it
)

// Bounds of the automatic repairs of a sweep.
const (
	maxRepairs  = 128         // that a sweep makes; the others have to wait
	repairPause = time.Second // for the next sweep
)

// errNothing says that a repair is not needed any more.
var errNothing = errors.New("nothing to do")

// repairAll makes the automatic repairs that are due. It returns how soon
// another may be, 0 for none.
func (m *monitor) repairAll(ctx context.Context, res check.Result, snap check.Snapshot) ([]wire.Repair, time.Duration, error) {
	repairs, made := []wire.Repair{}, 0
	var again time.Duration
	sooner := func(d time.Duration) {
		if again == 0 || d < again {
			again = d
		}
	}
	for _, i := range res.Issues {
		if err := ctx.Err(); err != nil {
			return repairs, 0, err
		}
		action, _ := repair.Plan(i, facts(i, res, snap, false))
		if action == "" {
			continue
		}
		ref := check.Ref{Kind: i.Kind, Name: i.Name}
		switch verdict, left := m.book.Ask(ref, m.src.clock.now()); verdict {
		case repair.Wait:
			sooner(left)
		case repair.GiveUp:
			repairs = append(repairs, m.giveUp(i, action))
			if err := m.keepIssue(ctx, ref, res.Memory.Issues[ref]); err != nil {
				return repairs, 0, err
			}
			m.advisor.Advise(wire.AdvRepairFailed, i.Name, "given up: the issue is still there after the last attempt",
				map[string]any{"kind": i.Kind, "action": action, "attempts": m.book.Entry(ref).Attempts})
		case repair.GivenUp:
			repairs = append(repairs, m.giveUp(i, action))
		case repair.Go:
			if made++; made > maxRepairs {
				sooner(repairPause)
				continue
			}
			r, err := m.attempt(ctx, ref, i, action, res.Memory.Issues[ref])
			if err != nil {
				return repairs, 0, err
			}
			repairs = append(repairs, r)
			sooner(m.CleanupRetryDelay)
		}
	}
	return repairs, again, nil
}

func (m *monitor) giveUp(i wire.Issue, action string) wire.Repair {
	e := m.book.Entry(check.Ref{Kind: i.Kind, Name: i.Name})
	return wire.Repair{
		Kind: i.Kind, Name: i.Name, Action: action, Outcome: outcomeGivenUp, Attempt: e.Attempts, At: e.LastAt,
		Detail: fmt.Sprintf("the issue is still there after %d attempts", e.Attempts),
	}
}

// attempt counts and makes one automatic repair.
func (m *monitor) attempt(ctx context.Context, ref check.Ref, i wire.Issue, action string, h check.Held) (wire.Repair, error) {
	n := m.book.Tried(ref, m.src.clock.now(), outcomeStarted)
	if err := m.keepIssue(ctx, ref, h); err != nil {
		return wire.Repair{}, err
	}
	r := m.act(ctx, i, action)
	r.Attempt = n
	m.book.Came(ref, r.Outcome)
	return r, m.keepIssue(ctx, ref, h)
}

// act does what the action says, after it has looked again, and says so.
func (m *monitor) act(ctx context.Context, i wire.Issue, action string) wire.Repair {
	r := wire.Repair{Kind: i.Kind, Name: i.Name, Action: action, At: m.src.clock.now().UTC(), Outcome: outcomeDone}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	do := map[string]func(context.Context, wire.Issue, *wire.Repair) error{
		repair.RemoveSubscription: m.removeSubscription,
		repair.RemovePool:         m.removePool,
		repair.StartPool:          m.reconcile,
		repair.ReconcilePool:      m.reconcile,
		repair.RestartPool:        m.restart,
		repair.QuarantineRecord:   m.quarantine,
		repair.RestoreRecord:      m.restoreRecord,
	}[action]
	err := fmt.Errorf("no such action")
	if do != nil {
		err = do(ctx, i, &r)
	}
	data := map[string]any{"kind": i.Kind, "action": action}
	switch {
	case err == nil:
		m.advisor.Advise(wire.AdvRepaired, i.Name, r.Detail, data)
	case errors.Is(err, errNothing):
		r.Outcome, r.Detail = outcomeNothing, err.Error()
	default:
		r.Outcome, r.Detail = outcomeFailed, err.Error()
		m.advisor.Advise(wire.AdvRepairFailed, i.Name, r.Detail, data)
	}
	m.log.Info().Str("kind", i.Kind).Str("name", i.Name).Str("action", action).
		Str("outcome", r.Outcome).Str("detail", r.Detail).Msg("repair")
	m.metrics.repaired(ctx, r)
	return r
}

// removeSubscription removes an ephemeral subscription on whose subject still
// nobody listens, and of whose subscribers its owner has heard nothing new.
func (m *monitor) removeSubscription(ctx context.Context, i wire.Issue, r *wire.Repair) error {
	store := m.src.store()
	rec, rev, err := store.Get(ctx, i.Name)
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return fmt.Errorf("%w: the subscription is gone", errNothing)
	case err != nil:
		return err
	case rec.UID != i.Evidence["uid"]:
		return fmt.Errorf("%w: it is another subscription now", errNothing)
	case rec.Spec.ExpireAfter <= 0:
		return fmt.Errorf("%w: the subscription is durable now", errNothing)
	}
	subject := rec.Spec.Deliver.Subject
	found, err := m.src.prober.Probe(ctx, []string{subject})
	if err != nil {
		return err
	}
	l := found[subject]
	r.Observed = fmt.Sprintf("revision %d, %d listeners on %q", rev, l.Subscriptions, subject)
	if !l.None(rec.Spec.Deliver.Stream) {
		return fmt.Errorf("%w: somebody listens again, or it cannot be known", errNothing)
	}
	st, err := m.src.status(ctx, rec)
	switch {
	case err != nil:
		return err // what cannot be learnt is not acted upon
	case st != nil && check.HeardSince(i.Evidence, rec, *st):
		return fmt.Errorf("%w: a subscriber has answered meanwhile", errNothing)
	}
	if err := store.Delete(ctx, i.Name, rev); err != nil {
		return fmt.Errorf("remove subscription at revision %d: %w", rev, err)
	}
	r.Detail = fmt.Sprintf("removed: no subscriber since %s, expire_after is %s",
		i.Since.Format(time.RFC3339), rec.Spec.ExpireAfter)
	m.advisor.Advise(wire.AdvSubscriptionExpired, i.Name, r.Detail,
		map[string]any{"uid": rec.UID, "subject": subject, "since": i.Since, "revision": rev})
	return nil
}

// removePool removes a pool entry that still has no subscription.
func (m *monitor) removePool(ctx context.Context, i wire.Issue, r *wire.Repair) error {
	rec, pool, err := m.src.fresh(ctx, i.Name)
	switch {
	case err != nil:
		return err
	case pool == nil:
		return fmt.Errorf("%w: the pool entry is gone", errNothing)
	case pool.Pool == nil || pool.Pool.UID != i.Evidence["uid"]:
		return fmt.Errorf("%w: it is another pool entry now", errNothing)
	case rec != nil && (rec.Record == nil || rec.Record.UID == pool.Pool.UID):
		return fmt.Errorf("%w: the pool has a subscription", errNothing)
	}
	r.Observed = fmt.Sprintf("pool of uid %s at revision %d, owner %q, floor %d",
		pool.Pool.UID, pool.Revision, pool.Pool.Owner, pool.Pool.Checkpoint.Floor)
	if err := subscription.NewPools(m.src.poolsKV).Delete(ctx, i.Name, pool.Revision); err != nil {
		return fmt.Errorf("remove pool at revision %d: %w", pool.Revision, err)
	}
	r.Detail = "the pool entry was removed"
	return nil
}

// reconcile asks the emitters to compare the record with its pool.
func (m *monitor) reconcile(ctx context.Context, i wire.Issue, r *wire.Repair) error {
	rec, rev, err := m.src.store().Get(ctx, i.Name)
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return fmt.Errorf("%w: the subscription is gone", errNothing)
	case err != nil:
		return err
	}
	r.Observed = fmt.Sprintf("generation %d at revision %d", rec.Generation, rev)
	t := wire.Transition{
		Name: rec.Name, Kind: wire.TransitionUpdated, UID: rec.UID, Generation: rec.Generation,
		Revision: rev, Missed: true, Replayed: true,
	}
	if i.Kind == wire.IssueMissingPool {
		t.Kind = wire.TransitionCreated
	}
	body, err := wire.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode transition: %w", err)
	}
	if err := m.src.nc.Publish(m.ns.Lifecycle(rec.Name), body); err != nil {
		return fmt.Errorf("ask the emitters: %w", err)
	}
	if err := m.src.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("ask the emitters: %w", err)
	}
	r.Detail = "the emitters were asked to reconcile it"
	return nil
}

// restart frees the claim on a pool that does not move, or that its owner does
// not have. The owner is asked once more first. If it runs the pool it sees
// that the claim is gone and stops, and an emitter claims it anew from the
// checkpoint.
func (m *monitor) restart(ctx context.Context, i wire.Issue, r *wire.Repair) error {
	pools := subscription.NewPools(m.src.poolsKV)
	pool, rev, err := pools.Get(ctx, i.Name)
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return fmt.Errorf("%w: the pool entry is gone", errNothing)
	case err != nil:
		return err
	case pool.UID != i.Evidence["uid"] || pool.Owner == "" || !check.SameClaim(i.Evidence, pool.Owner, pool.Epoch):
		return fmt.Errorf("%w: the pool has moved on", errNothing)
	}
	st, err := m.src.owner(ctx, pool)
	if err != nil {
		return err // what cannot be learnt is not acted upon
	}
	r.Observed = fmt.Sprintf("owner %s, epoch %d, floor %d at revision %d", pool.Owner, pool.Epoch, pool.Checkpoint.Floor, rev)
	switch {
	case st == nil:
		r.Observed += "; the owner does not have the pool"
	case i.Kind == wire.IssueMissingPool:
		return fmt.Errorf("%w: the owner has the pool", errNothing)
	case check.Moved(i.Evidence, *st):
		return fmt.Errorf("%w: the pool moves", errNothing)
	default:
		r.Observed += fmt.Sprintf("; position %d, %d deliveries, %d finished", st.Position, st.Delivered, st.Finished)
	}
	old := pool.Owner
	pool.Epoch = subscription.NextEpoch(pool, rev)
	pool.Owner, pool.State, pool.UpdatedAt = "", wire.PoolReleased, time.Now().UTC()
	pool.Reason = "released by the health monitor: " + i.Detail
	if _, err := pools.Write(ctx, pool, rev); err != nil {
		return fmt.Errorf("free the pool over revision %d: %w", rev, err)
	}
	r.Detail = "the claim was freed, so that an emitter takes it anew"
	m.advisor.Advise(wire.AdvPoolRestarted, i.Name, r.Detail, map[string]any{"owner": old, "epoch": pool.Epoch, "kind": i.Kind})
	return nil
}

// quarantine moves an entry that cannot be read out of the way. The last
// readable revision of a subscription takes its place; without one the key is
// deleted. Nothing is lost: the quarantine has the entry.
func (m *monitor) quarantine(ctx context.Context, i wire.Issue, r *wire.Repair) error {
	kv, bucket := m.src.subsKV, m.ns.BucketSubscriptions()
	if i.Evidence["bucket"] == "pools" {
		kv, bucket = m.src.poolsKV, m.ns.BucketPools()
	}
	e, err := kv.Get(ctx, i.Name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return fmt.Errorf("%w: the entry is gone", errNothing)
	}
	if err != nil {
		return fmt.Errorf("read %q: %w", i.Name, err)
	}
	reason, newer := m.src.unreadable(bucket, e)
	if reason == "" || newer {
		return fmt.Errorf("%w: the entry can be read", errNothing)
	}
	r.Observed = fmt.Sprintf("%d bytes at revision %d: %s", len(e.Value()), e.Revision(), reason)
	q := wire.Quarantined{
		Bucket: bucket, Key: i.Name, Revision: e.Revision(), Reason: reason, At: time.Now().UTC(), Value: e.Value(),
	}
	if json.Valid(e.Value()) {
		q.JSON = e.Value()
	}
	if err := bus.Quarantine(ctx, m.src.js, m.ns, q); err != nil {
		return fmt.Errorf("quarantine %q: %w", i.Name, err)
	}
	good, err := m.lastReadable(ctx, bucket, i.Name, e.Revision())
	if err != nil {
		return err
	}
	if good != nil {
		_, err = kv.Update(ctx, i.Name, good, e.Revision())
		r.Detail = "quarantined, and the last readable revision put in its place"
	} else {
		err = kv.Delete(ctx, i.Name, jetstream.LastRevision(e.Revision()))
		r.Detail = "quarantined and deleted"
	}
	if err != nil {
		return fmt.Errorf("replace %q at revision %d: %w", i.Name, e.Revision(), err)
	}
	m.advisor.Advise(wire.AdvRecordQuarantined, i.Name, r.Detail,
		map[string]any{"bucket": bucket, "revision": e.Revision(), "reason": reason})
	return nil
}

// restoreRecord writes back the last known record of a subscription whose entry
// is gone although nobody deleted it. It goes on from its pool's place.
func (m *monitor) restoreRecord(ctx context.Context, i wire.Issue, r *wire.Repair) error {
	last := m.src.lastKnown(i.Name)
	if last == nil {
		return errors.New("the record is not known any more: subscribe again under that name")
	}
	_, err := m.src.subsKV.Get(ctx, i.Name)
	switch {
	case err == nil:
		return fmt.Errorf("%w: there is a record", errNothing)
	case deleted(err):
		return fmt.Errorf("%w: the subscription was deleted meanwhile", errNothing)
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("read subscription %q: %w", i.Name, err)
	}
	rev, err := m.src.store().Update(ctx, last, 0)
	if err != nil {
		return fmt.Errorf("write the record back: %w", err)
	}
	r.Observed = "no record, and no mark of a deletion"
	r.Detail = fmt.Sprintf("the record of uid %s, generation %d, was written back at revision %d", last.UID, last.Generation, rev)
	return nil
}

// unreadable says why an entry cannot be read, "" where it can.
func (s *source) unreadable(bucket string, e jetstream.KeyValueEntry) (reason string, newer bool) {
	if bucket == s.ns.BucketPools() {
		p := s.pool(subscription.EntryOf(e))
		return p.Reason, p.Newer
	}
	r := s.record(subscription.EntryOf(e))
	return r.Reason, r.Newer
}

// lastReadable returns the latest revision of a subscription before rev that
// can be read, nil where there is none since it was last deleted. Checkpoints
// have no history.
func (m *monitor) lastReadable(ctx context.Context, bucket, key string, rev uint64) ([]byte, error) {
	if bucket != m.ns.BucketSubscriptions() {
		return nil, nil
	}
	history, err := m.src.subsKV.History(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read history of %q: %w", key, err)
	}
	var good []byte
	for _, e := range history {
		if e.Revision() >= rev {
			break
		}
		if e.Operation() != jetstream.KeyValuePut {
			good = nil
			continue
		}
		if reason, _ := m.src.unreadable(bucket, e); reason == "" {
			good = e.Value()
		}
	}
	return good, nil
}
