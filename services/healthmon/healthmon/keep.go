package healthmon

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
	"github.com/sluicehq/sluice/services/healthmon/internal/repair"
)

// Keys of the health bucket.
const (
	keyReport             = "report"
	keyCleanup            = "cleanup"
	prefixSubscription    = "subscription."
	prefixIssue           = "issue."
	maxWriteTries         = 5
	encodedName           = "=" // begins an issue's name that is no valid name
	issueSchema           = 1
	keyOfAllIssues        = prefixIssue + ">"
	keyOfAllSubscriptions = prefixSubscription + "*"
)

// heldIssue is what lies under issue.<kind>.<name>.
type heldIssue struct {
	Schema int          `json:"schema"`
	UID    string       `json:"uid,omitempty"`
	Issue  wire.Issue   `json:"issue"`
	Repair repair.Entry `json:"repair"`
}

// keptStatus is what lies under subscription.<name>.
type keptStatus struct {
	UID string `json:"uid,omitempty"`
	wire.SubscriptionHealth
}

// cleanupSwitch is what lies under cleanup.
type cleanupSwitch struct {
	Enabled bool `json:"enabled"`
}

func issueKey(ref check.Ref) string {
	name := ref.Name
	if !wire.ValidName(name) {
		name = encodedName + base64.RawURLEncoding.EncodeToString([]byte(name))
	}
	return prefixIssue + ref.Kind + "." + name
}

func subscriptionKey(name string) string { return prefixSubscription + name }

// kept is a bucket of which one instance writes most keys: it remembers the
// revisions it knows, writes by compare-and-swap, and reads again on conflict.
type kept struct {
	kv  bucket.KeyValue
	log zerolog.Logger

	revs     map[string]uint64 // by key; other keys are thought to have no entry
	doubt    map[string]bool   // keys of which it is not known what was written last
	issues   map[check.Ref]heldIssue
	statuses map[string]keptStatus // by subscription
	cleanup  *cleanupSwitch        // nil: it is not set
	born     time.Time             // when the bucket was made; zero: not known
}

func newKept(kv bucket.KeyValue, log zerolog.Logger) *kept {
	k := &kept{kv: kv, log: log, doubt: map[string]bool{}}
	k.forget()
	return k
}

// forget makes it all be written again.
func (k *kept) forget() {
	k.revs, k.issues, k.statuses = map[string]uint64{}, map[check.Ref]heldIssue{}, map[string]keptStatus{}
}

// madeAnew is told when the bucket was made, as far as that is known. It reports
// whether this is another bucket than before: then all is written again.
func (k *kept) madeAnew(born time.Time) bool {
	if born.IsZero() || born.Equal(k.born) {
		return false
	}
	anew := !k.born.IsZero()
	if anew {
		k.forget()
	}
	k.born = born
	return anew
}

// change is a key that is written, or removed.
type change struct {
	key   string
	value any    // nil: remove it
	done  func() // called once that has been done; optional
}

// put writes value under key.
func (k *kept) put(ctx context.Context, key string, value any) error {
	return k.write(ctx, slices.Values([]change{{key: key, value: value}}))
}

// write makes changes of different keys, many at a time. On a conflict it reads the
// revision again and writes over it: the caller holds the lease, and whoever wrote
// before it does not any more. After an error some have been made, and some not.
func (k *kept) write(ctx context.Context, changes iter.Seq[change]) error {
	for range maxWriteTries {
		again, err := k.try(ctx, changes)
		if err != nil || len(again) == 0 {
			return err
		}
		if err := k.readAgain(ctx, again); err != nil {
			return err
		}
		changes = slices.Values(again)
	}
	return errors.New("write what was found: somebody else keeps writing it")
}

// try makes changes, and returns those for which the revision has to be read first.
func (k *kept) try(ctx context.Context, changes iter.Seq[change]) (again []change, err error) {
	under := map[string]change{} // as many as are written at once
	var bad error
	writes := func(yield func(bucket.Write) bool) {
		for c := range changes {
			rev, there := k.revs[c.key]
			switch {
			case k.doubt[c.key]:
				again = append(again, c)
				continue
			case c.value == nil && !there:
				c.finish()
				continue
			}
			w := bucket.Write{Key: c.key, Revision: rev, Delete: c.value == nil}
			if c.value != nil {
				if w.Value, bad = wire.Marshal(c.value); bad != nil {
					bad = fmt.Errorf("encode %q: %w", c.key, bad)
					return
				}
			}
			under[c.key] = c
			if !yield(w) {
				return
			}
		}
	}
	err = k.kv.WriteAll(ctx, writes, func(w bucket.Write, rev uint64, err error) error {
		c := under[w.Key]
		delete(under, w.Key)
		delete(k.revs, w.Key)
		switch {
		case errors.Is(err, jetstream.ErrKeyRevisionMismatch):
			again = append(again, c)
			return nil
		case err != nil:
			k.doubt[w.Key] = true
			return fmt.Errorf("write %q over revision %d: %w", w.Key, w.Revision, err)
		case !w.Delete:
			k.revs[w.Key] = rev
		}
		c.finish()
		return nil
	})
	return again, cmp.Or(err, bad)
}

func (c change) finish() {
	if c.done != nil {
		c.done()
	}
}

// readAgain reads at which revision the keys are, tombstones included.
func (k *kept) readAgain(ctx context.Context, changes []change) error {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, c := range changes {
		g.Go(func() error {
			rev, err := k.revision(gctx, c)
			mu.Lock()
			defer mu.Unlock()
			delete(k.revs, c.key)
			if err == nil {
				delete(k.doubt, c.key)
			}
			if rev > 0 {
				k.revs[c.key] = rev
			}
			return err
		})
	}
	return g.Wait()
}

// revision is that which a change has to replace, 0 where there is none.
func (k *kept) revision(ctx context.Context, c change) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	e, err := k.kv.Get(ctx, c.key)
	var gone *bucket.DeletedError
	switch {
	case err == nil:
		return e.Revision(), nil
	case errors.As(err, &gone) && c.value == nil: // it is removed already
		return 0, nil
	case errors.As(err, &gone):
		return gone.Revision, nil
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return 0, nil
	default:
		return 0, fmt.Errorf("read %q: %w", c.key, err)
	}
}

// list returns the live entries that match keys, and remembers their revisions.
func (k *kept) list(ctx context.Context, keys string) (map[string]remembered, error) {
	out := map[string]remembered{}
	err := k.kv.List(ctx, bucket.Following{
		Keys: keys, Purpose: "reads what an earlier leader knew", Log: k.log,
		Entry: func(e jetstream.KeyValueEntry) {
			delete(out, e.Key())
			delete(k.revs, e.Key())
			if e.Operation() == jetstream.KeyValuePut {
				k.revs[e.Key()], out[e.Key()] = e.Revision(), remembered{e.Value(), e.Created()}
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", keys, err)
	}
	return out, nil
}

// memory reads back what an earlier leader knew, and how often it tried to mend
// what. What cannot be read is left out: the next sweep finds it anew.
func (k *kept) memory(ctx context.Context) (mem check.Memory, tried map[check.Ref]repair.Entry, err error) {
	mem = check.Memory{Issues: map[check.Ref]check.Held{}, Statuses: map[string]wire.SubscriptionHealth{}}
	tried = map[check.Ref]repair.Entry{}
	issues, err := k.list(ctx, keyOfAllIssues)
	if err != nil {
		return mem, nil, err
	}
	for key, entry := range issues {
		h, err := entry.issue(key)
		if err != nil {
			k.log.Warn().Err(err).Msg("entry is left out, and will be replaced")
			continue
		}
		ref := check.Ref{Kind: h.Issue.Kind, Name: h.Issue.Name}
		mem.Issues[ref] = check.Held{Issue: h.Issue, UID: h.UID}
		if h.Repair.Attempts > 0 {
			tried[ref] = h.Repair
		}
		k.issues[ref] = heldIssue{Schema: issueSchema, UID: h.UID, Issue: h.Issue, Repair: tried[ref]}
	}
	statuses, err := k.list(ctx, keyOfAllSubscriptions)
	if err != nil {
		return mem, nil, err
	}
	for key, entry := range statuses {
		st, err := entry.status(key)
		if err != nil {
			k.log.Warn().Err(err).Msg("entry is left out, and will be replaced")
			continue
		}
		mem.Statuses[st.Name], k.statuses[st.Name] = st.SubscriptionHealth, st
	}
	return mem, tried, nil
}
