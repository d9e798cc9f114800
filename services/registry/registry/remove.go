package registry

import (
	"context"
	"errors"

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

// fate is what became of a delete that was sent and not confirmed.
type fate int

const (
	undone    fate = iota // the entry is there as it was
	overtaken             // the entry was changed first: it will never be carried out
	done
	unclear
)

// fate tells from now, a later look, what became of the delete of f. A restart
// gives a name another uid and keeps its time of creation; only what was
// deleted is created anew.
func (f found) fate(now found) fate {
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

// remove deletes the record, one that cannot be read too, and returns what it
// deleted.
func (s *Service) remove(ctx context.Context, r *request, st *stores, ifRevision *uint64) (was found, bad *wire.Error) {
	var now, sent found // sent is what an unconfirmed delete was to remove
	for range maxTries {
		rec, rev, err := s.read(ctx, st, r.name)
		now = found{rec, rev}
		last := s.view.vanished(r.name)
		var corrupt *subscription.CorruptError
		switch {
		case errors.Is(err, subscription.ErrNotFound) && sent.rev != 0:
			s.view.removed(r.name, sent.rev)
			return sent, nil
		case err == nil, errors.As(err, &corrupt): // the latter may be removed as well
		case errors.Is(err, subscription.ErrNotFound) && rev == 0 && last != nil:
			// Without a record there can be no tombstone, and without that no pool ends.
			_, err := s.write(ctx, st, last, 0, false)
			var conflict *subscription.ConflictError
			switch {
			case err == nil, errors.As(err, &conflict):
			case errors.Is(err, errAway) && !errors.Is(err, errNotSent):
				return found{}, unknown() // it may have been written back
			default:
				return found{}, s.failed(r, err)
			}
			continue
		case sent.rev != 0:
			return found{}, unknown()
		default:
			return found{}, s.failed(r, err)
		}
		if sent.rev != 0 {
			switch sent.fate(now) {
			case done: // and somebody has created the name anew
				s.view.removed(r.name, sent.rev)
				return sent, nil
			case unclear:
				return found{}, unknown()
			case overtaken:
				sent = found{}
			case undone:
			}
		}
		if ifRevision != nil && *ifRevision != now.rev {
			return found{}, movedOn(r.name, now.rev)
		}
		err = s.gate.do(ctx, func(ctx context.Context) error { return st.records.Delete(ctx, r.name, now.rev) })
		var conflict *subscription.ConflictError
		switch {
		case err == nil:
			s.view.removed(r.name, now.rev)
			return now, nil
		case errors.As(err, &conflict): // it moved on: look again
		case errors.Is(err, errAway) && !errors.Is(err, errNotSent):
			sent = now
		case sent.rev != 0:
			return found{}, unknown()
		default:
			return found{}, s.failed(r, err)
		}
	}
	if sent.rev != 0 {
		return found{}, unknown()
	}
	return found{}, contended(r.name, now.rev)
}
