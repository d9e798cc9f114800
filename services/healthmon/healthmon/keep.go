package healthmon

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

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
	kv      bucket.KeyValue
	revs    map[string]uint64
	cleanup *cleanupSwitch // as it was last; nil: it is not set
	log     zerolog.Logger
}

// put writes value under key. On a conflict it reads the revision again and
// writes over it: the caller holds the lease, and whoever wrote before it does
// not any more.
func (k *kept) put(ctx context.Context, key string, value any) error {
	b, err := wire.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %q: %w", key, err)
	}
	for range maxWriteTries {
		rev, known := k.revs[key]
		if !known {
			if rev, err = k.revision(ctx, key); err != nil {
				return err
			}
		}
		next, err := k.write(ctx, key, b, rev)
		if err == nil {
			k.revs[key] = next
			return nil
		}
		delete(k.revs, key)
		if !conflict(err) {
			return fmt.Errorf("write %q over revision %d: %w", key, rev, err)
		}
	}
	return fmt.Errorf("write %q: somebody else keeps writing it", key)
}

func (k *kept) write(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if rev == 0 {
		return k.kv.Create(ctx, key, value)
	}
	return k.kv.Update(ctx, key, value, rev)
}

// revision is that of the live entry under key, 0 where there is none.
func (k *kept) revision(ctx context.Context, key string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	e, err := k.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read %q: %w", key, err)
	}
	return e.Revision(), nil
}

// remove deletes key, if it is there.
func (k *kept) remove(ctx context.Context, key string) error {
	for range maxWriteTries {
		rev, known := k.revs[key]
		if !known {
			var err error
			if rev, err = k.revision(ctx, key); err != nil {
				return err
			}
		}
		delete(k.revs, key)
		if rev == 0 {
			return nil
		}
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			return k.kv.Delete(ctx, key, jetstream.LastRevision(rev))
		}()
		if err == nil {
			return nil
		}
		if !conflict(err) {
			return fmt.Errorf("delete %q at revision %d: %w", key, rev, err)
		}
	}
	return fmt.Errorf("delete %q: somebody else keeps writing it", key)
}

// conflict reports whether a write failed because the key moved on.
func conflict(err error) bool {
	return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch)
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

// memory reads back what an earlier leader knew. What cannot be read is left
// out: the next sweep finds it anew.
func (k *kept) memory(ctx context.Context) (
	mem check.Memory, tried map[check.Ref]repair.Entry, kept map[string]keptStatus, err error,
) {
	mem = check.Memory{Issues: map[check.Ref]check.Held{}, Statuses: map[string]wire.SubscriptionHealth{}}
	tried, kept = map[check.Ref]repair.Entry{}, map[string]keptStatus{}
	issues, err := k.list(ctx, keyOfAllIssues)
	if err != nil {
		return mem, nil, nil, err
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
	}
	statuses, err := k.list(ctx, keyOfAllSubscriptions)
	if err != nil {
		return mem, nil, nil, err
	}
	for key, entry := range statuses {
		st, err := entry.status(key)
		if err != nil {
			k.log.Warn().Err(err).Msg("entry is left out, and will be replaced")
			continue
		}
		mem.Statuses[st.Name], kept[st.Name] = st.SubscriptionHealth, st
	}
	return mem, tried, kept, nil
}
