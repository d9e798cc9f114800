package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// found is the entry of a name as it was read.
type found struct {
	rec *wire.Record // nil where it cannot be read
	rev uint64       // 0: none was found
}

func (f found) uid() string {
	if f.rec == nil {
		return ""
	}
	return f.rec.UID
}

// deleteOutcome is what became of a delete that was sent and not confirmed.
type deleteOutcome int

const (
	undone    deleteOutcome = iota // the entry is there as it was
	overtaken                      // the entry was changed first: it will never be carried out
	done
	unclear
)

// deleteOutcome tells from now, a later look, what became of the delete of f. A restart
// gives a name another uid and keeps its time of creation; only what was
// deleted is created anew.
func (f found) deleteOutcome(now found) deleteOutcome {
	switch {
	case now.rev == f.rev:
		return undone
	case f.rec == nil || now.rec == nil:
		return unclear
	case now.rec.UID == f.rec.UID || now.rec.CreatedAt.Equal(f.rec.CreatedAt):
		return overtaken
	default:
		return done
	}
}

// errVanished is where a record is gone although nobody deleted it.
var errVanished = fmt.Errorf("%w: it vanished", subscription.ErrNotFound)

// remove deletes the record, one that cannot be read too, and returns what it
// deleted. Without a record there can be no tombstone, and without that no pool
// ends: a record that vanished is written back first.
func (s *api) remove(ctx context.Context, r *request, st *stores, ifRevision *uint64) (found, *wire.Error) {
	was, err := s.tryRemove(ctx, st, r.name, ifRevision)
	if errors.Is(err, errVanished) {
		if err = s.writeBack(ctx, st, r.name); err == nil {
			was, err = s.tryRemove(ctx, st, r.name, ifRevision)
		}
	}
	if err != nil {
		return found{}, s.failed(r, err)
	}
	s.view.removed(r.name, was.rev)
	return was, nil
}

// tryRemove deletes the record that there is. The error is errVanished where it
// is gone without a trace.
func (s *api) tryRemove(ctx context.Context, st *stores, name string, ifRevision *uint64) (found, error) {
	var was found // what the last delete was to remove
	_, err := replace(ctx, st.subs, name, func(now bucket.Seen) (*bucket.Write, error) {
		rec, err := subscription.RecordOf(now, s.ns)
		var corrupt *subscription.CorruptError
		switch {
		case now.Revision == 0 && s.view.vanished(name) != nil:
			return nil, errVanished
		case now.Entry == nil:
			return nil, subscription.ErrNotFound
		case err != nil && !errors.As(err, &corrupt): // what cannot be read may be removed as well
			return nil, err
		}
		entry := found{rec, now.Revision}
		if now.Sent != nil {
			switch was.deleteOutcome(entry) {
			case done: // and somebody has created the name anew
				return nil, nil
			case unclear:
				return nil, unknown()
			case undone, overtaken:
			}
		}
		if ifRevision != nil && *ifRevision != entry.rev {
			return nil, revisionConflict(name, entry.rev)
		}
		was = entry
		return &bucket.Write{Delete: true}, nil
	})
	return was, err
}

// writeBack writes the last known record of a name that vanished, if it has none.
func (s *api) writeBack(ctx context.Context, st *stores, name string) error {
	_, err := replace(ctx, st.subs, name, func(now bucket.Seen) (*bucket.Write, error) {
		last := s.view.vanished(name)
		if now.Revision > 0 || last == nil {
			return nil, nil
		}
		return bucket.Put(last)
	})
	return err
}
