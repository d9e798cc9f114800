package replayer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// position is what lies under wire.ReconciledKey in the replays bucket: up to
// where the emitters are known to have observed the history.
type position struct {
	Schema   int    `json:"schema"`
	Revision uint64 `json:"revision"`
	// Incarnation is when the subscriptions bucket was created that Revision
	// belongs to.
	Incarnation time.Time `json:"incarnation"`
	Leader      string    `json:"leader"` // who wrote it, under which lease
	Epoch       uint64    `json:"epoch"`
	At          time.Time `json:"at"`

	kvRevision uint64 // the revision of the entry itself; 0: there is none
}

// errPositionMoved says that somebody else wrote the position first.
var errPositionMoved = errors.New("the reconciled revision changed meanwhile")

// archive is the replays bucket, as far as reconciliation uses it.
type archive struct{ kv jetstream.KeyValue }

// loadPosition returns the position; where there is none, or nobody can read
// it, it is at revision 0.
func (a archive) loadPosition(ctx context.Context) (position, error) {
	e, err := a.load(ctx, wire.ReconciledKey)
	if err != nil || e == nil {
		return position{}, err
	}
	p, _ := decodePosition(e.Value(), e.Created())
	p.kvRevision = e.Revision()
	return p, nil
}

// decodePosition reads a position that was stored at a time. One that cannot be
// true is an error, as one that cannot be read; then it is at revision 0.
func decodePosition(value []byte, stored time.Time) (position, error) {
	var p position
	err := json.Unmarshal(value, &p)
	late := subscription.TimeFault(p.At, stored)
	switch {
	case err != nil:
	case p.Revision > wire.MaxRevision || p.Epoch > wire.MaxRevision:
		err = errors.New("a revision beyond all that there can be")
	case p.Schema < 0 || !wire.ValidName(p.Leader):
		err = errors.New("no instance wrote it")
	case late != "":
		err = errors.New(late)
	default:
		return p, nil
	}
	return position{}, fmt.Errorf("decode position: %w", err)
}

// savePosition writes p over the entry that it was loaded from. It returns
// errPositionMoved where that is no longer there; after any other error it is
// not known whether p was written.
func (a archive) savePosition(ctx context.Context, p position) error {
	p.Schema, p.At = wire.SchemaVersion, time.Now().UTC()
	return a.change(ctx, wire.ReconciledKey, func(now bucket.Seen) (*bucket.Write, error) {
		if now.Live() != p.kvRevision {
			return nil, errPositionMoved
		}
		return bucket.Put(p)
	})
}

// saveReport stores the last report. One that found nothing does not replace
// one that did: the last thing that happened stays to be seen.
func (a archive) saveReport(ctx context.Context, r wire.ReconcileReport) error {
	return a.change(ctx, wire.ReconcileReportKey, func(now bucket.Seen) (*bucket.Write, error) {
		if now.Entry != nil && r.Total == 0 {
			old, err := decodeReport(now.Entry.Value(), now.Entry.Created())
			if err == nil && old.Total > 0 {
				return nil, nil
			}
		}
		return bucket.Put(r)
	})
}

// change changes a key within the time of one call.
func (a archive) change(ctx context.Context, key string, plan bucket.Plan) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := bucket.Change(ctx, a.kv, key, plan)
	return err
}

// decodeReport is decodePosition for a report.
func decodeReport(value []byte, stored time.Time) (wire.ReconcileReport, error) {
	var r wire.ReconcileReport
	err := json.Unmarshal(value, &r)
	late := subscription.TimeFault(r.Timestamp, stored)
	switch {
	case err != nil:
	case r.Type != wire.ReconcileReportType:
		err = errors.New("not a report")
	case r.ToRevision > wire.MaxRevision || r.FromRevision > r.ToRevision:
		err = errors.New("revisions that there cannot be")
	case len(r.Transitions) > r.Total || min(r.Missed, r.Replayed, r.Unobserved) < 0 || max(r.Missed, r.Replayed, r.Unobserved) > r.Total:
		err = errors.New("counts that there cannot be")
	case late != "":
		err = errors.New(late)
	default:
		return r, nil
	}
	return wire.ReconcileReport{}, fmt.Errorf("decode report: %w", err)
}

// load reads the entry of key; nil where there is none.
func (a archive) load(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	e, err := a.kv.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read %q: %w", key, err)
	}
	return e, nil
}
