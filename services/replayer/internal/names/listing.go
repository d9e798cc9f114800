package names

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/wire"
)

// mark is a tombstone.
type mark struct {
	key      string
	revision uint64
}

// listing is what a bucket has to purge.
type listing struct {
	marks map[string]uint64 // revisions of tombstones
	more  bool              // there are more of them
}

func (l *listing) all() []mark {
	all := make([]mark, 0, len(l.marks))
	for key, rev := range l.marks {
		all = append(all, mark{key, rev})
	}
	return all
}

// due lists what may be purged from each bucket.
func (p *Purger) due(ctx context.Context, reconciled uint64) (records, pools, health *listing, err error) {
	records, err = p.list(ctx, p.cfg.Subscriptions, reading{
		marks: func(key string, rev uint64) bool { return wire.ValidName(key) && rev <= reconciled },
	})
	if err != nil {
		return nil, nil, nil, err
	}
	// A name with a pool, or of which the monitor keeps something, is not over.
	keep := func(name string) { delete(records.marks, name) }
	pools, err = p.list(ctx, p.cfg.Pools, reading{
		marks: func(key string, _ uint64) bool { return wire.ValidName(key) },
		lives: keep,
	})
	if err != nil {
		return nil, nil, nil, err
	}
	health, err = p.list(ctx, p.cfg.Health, reading{
		marks: func(key string, _ uint64) bool { return nameIn(key) != "" },
		lives: func(key string) { keep(nameIn(key)) },
	})
	return records, pools, health, err
}

// nameIn is the name in a key of the health bucket, which is its last token; ""
// where the key is of none: those are few, and read as a setting is.
func nameIn(key string) string {
	if at := strings.LastIndexByte(key, '.'); at >= 0 {
		return key[at+1:]
	}
	return ""
}

// reading says what to take from a bucket: of which tombstones, if they are old
// enough; and who wants to hear of the keys that live.
type reading struct {
	marks func(key string, revision uint64) bool
	lives func(key string)
}

func (p *Purger) list(ctx context.Context, b Bucket, r reading) (*listing, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	now, err := serverTime(ctx, b)
	if err != nil {
		return nil, err
	}
	l := &listing{marks: map[string]uint64{}}
	err = b.List(ctx, bucket.Following{
		NoValues: true, Purpose: "looks for names that are over", Log: p.cfg.Log,
		Entry: func(e jetstream.KeyValueEntry) {
			delete(l.marks, e.Key()) // written while it is listed
			switch {
			case e.Operation() == jetstream.KeyValuePut:
				if r.lives != nil {
					r.lives(e.Key())
				}
			case now.Sub(e.Created()) < p.cfg.Retention || !r.marks(e.Key(), e.Revision()):
			case len(l.marks) == maxMarks:
				l.more = true
			default:
				l.marks[e.Key()] = e.Revision()
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("list bucket %s: %w", b.Bucket(), err)
	}
	return l, nil
}

// serverTime is what the clock says by which entries are stored.
func serverTime(ctx context.Context, b Bucket) (time.Time, error) {
	st, err := b.Status(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("look at bucket %s: %w", b.Bucket(), err)
	}
	bs, ok := st.(*jetstream.KeyValueBucketStatus)
	if !ok || bs.StreamInfo().TimeStamp.IsZero() {
		return time.Time{}, fmt.Errorf("look at bucket %s: the server does not say what time it is", b.Bucket())
	}
	return bs.StreamInfo().TimeStamp, nil
}
