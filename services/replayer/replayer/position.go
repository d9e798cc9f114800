package replayer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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

	kvRevision uint64 // of the entry itself; 0: there is none
}

// errPositionMoved says that somebody else wrote the position first.
var errPositionMoved = errors.New("the reconciled revision changed meanwhile")

// archive is the replays bucket, as far as reconciliation uses it.
type archive struct{ kv jetstream.KeyValue }

// loadPosition returns the position; where there is none, or nobody can read
// it, it is at revision 0.
func (a archive) loadPosition(ctx context.Context) (position, error) {
	var p position
	rev, err := a.load(ctx, wire.ReconciledKey, &p)
	if err != nil {
		return position{}, err
	}
	p.kvRevision = rev
	return p, nil
}

// savePosition writes p over the entry that it was loaded from. It returns
// errPositionMoved where that is no longer there; after any other error it is
// not known whether p was written.
func (a archive) savePosition(ctx context.Context, p position) error {
	p.Schema, p.At = wire.SchemaVersion, time.Now().UTC()
	err := a.save(ctx, wire.ReconciledKey, p, p.kvRevision)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) || errors.Is(err, jetstream.ErrKeyExists) {
		return errors.Join(errPositionMoved, err)
	}
	return err
}

// saveReport stores the last report. One that found nothing does not replace
// one that did: the last thing that happened stays to be seen.
func (a archive) saveReport(ctx context.Context, r wire.ReconcileReport) error {
	var old wire.ReconcileReport
	rev, err := a.load(ctx, wire.ReconcileReportKey, &old)
	if err != nil {
		return err
	}
	if r.Total == 0 && old.Total > 0 {
		return nil
	}
	return a.save(ctx, wire.ReconcileReportKey, r, rev)
}

// load reads key into v and returns its revision, 0 where there is none. A
// value that is not the JSON asked for leaves v empty: it will be replaced.
func (a archive) load(ctx context.Context, key string, v any) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	e, err := a.kv.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read %q: %w", key, err)
	}
	_ = json.Unmarshal(e.Value(), v)
	return e.Revision(), nil
}

// save writes v over revision rev of key; 0 stands for a key that is not there.
func (a archive) save(ctx context.Context, key string, v any, rev uint64) error {
	value, err := wire.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %q: %w", key, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if rev == 0 {
		_, err = a.kv.Create(ctx, key, value)
	} else {
		_, err = a.kv.Update(ctx, key, value, rev)
	}
	if err != nil {
		return fmt.Errorf("write %q over revision %d: %w", key, rev, err)
	}
	return nil
}
