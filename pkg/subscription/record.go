package subscription

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/wire"
)

// ErrNewerSchema is in the error of an entry that a newer version of Sluice
// wrote. It is not damage: such an entry must be left as it is.
var ErrNewerSchema = errors.New("written by a newer version of Sluice")

// maxEntryBytes bounds what is looked at of an entry: a request's limit is far
// below it, and a checkpoint's ranges stay below it too.
const maxEntryBytes = 4 << 20

// maxIdentifier bounds uids and instance ids.
const maxIdentifier = 128

// Entry is an entry of a bucket as it was read.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64    // 0: not known
	Created  time.Time // when the server stored it; zero: not known
}

// EntryOf is e as the decoders take it.
func EntryOf(e jetstream.KeyValueEntry) Entry {
	return Entry{Key: e.Key(), Value: e.Value(), Revision: e.Revision(), Created: e.Created()}
}

// Mirrored is e as the decoders take it.
func Mirrored(e mirror.Entry) Entry {
	return Entry{Key: e.Key, Value: e.Value, Revision: e.Revision, Created: e.Created}
}

// DecodeRecord reads an entry of the subscriptions bucket. Whatever is wrong
// with it is an error, and what cannot be true is wrong. Members of this version
// that are absent take their defaults, and unknown ones are ignored: another
// version may have written it.
func DecodeRecord(e Entry, ns wire.Namespace) (*wire.Record, error) {
	key := e.Key
	tree, err := entryTree(e.Value)
	if err != nil {
		return nil, fmt.Errorf("record %q: %w", key, err)
	}
	r := &wire.Record{Spec: Default()}
	f := fields{open: true}
	given := f.object("", tree, map[string]reader{
		"schema":         f.whole(&r.Schema),
		"name":           f.text(&r.Name),
		"uid":            f.text(&r.UID),
		"generation":     f.count(&r.Generation),
		"paused":         f.yes(&r.Paused),
		"created_at":     f.moment(&r.CreatedAt),
		"updated_at":     f.moment(&r.UpdatedAt),
		"start_sequence": f.count(&r.StartSequence),
		"store_created":  f.moment(&r.StoreCreated),
		"spec":           func(path string, n *node) { f.recordSpec(path, n, &r.Spec, key, ns) },
	})
	f.entry(key, r.Name, r.UID)
	if r.Generation == 0 && !f.bad("generation") {
		f.fault("generation", "want a whole number from 1")
	}
	if !f.bad("spec") && r.Spec.Store == "" {
		f.fault("spec", "is required")
	}
	f.implausibleRecord(r, given, e)
	if err := f.entryError(); err != nil {
		return nil, fmt.Errorf("record %q: %w", key, err)
	}
	return r, nil
}

func (f *fields) recordSpec(path string, n *node, s *wire.Spec, name string, ns wire.Namespace) {
	inner := fields{open: true}
	inner.object("", n, inner.spec(s))
	inner.validate(name, s, ns)
	for _, x := range inner.all() {
		f.fault(inside(path, x.Field), "%s", x.Reason)
	}
	compactPatterns(&s.Selector)
}

// DecodePool reads an entry of the pools bucket, as DecodeRecord does.
func DecodePool(e Entry) (*wire.Pool, error) {
	key := e.Key
	tree, err := entryTree(e.Value)
	if err != nil {
		return nil, fmt.Errorf("pool %q: %w", key, err)
	}
	var p wire.Pool
	f := fields{open: true}
	given := f.object("", tree, map[string]reader{
		"schema":              f.whole(&p.Schema),
		"name":                f.text(&p.Name),
		"uid":                 f.text(&p.UID),
		"owner":               f.text(&p.Owner),
		"epoch":               f.count(&p.Epoch),
		"observed_generation": f.count(&p.ObservedGeneration),
		"observed_revision":   f.count(&p.ObservedRevision),
		"checkpoint":          func(path string, n *node) { f.checkpoint(path, n, &p.Checkpoint) },
		"begin":               f.count(&p.Begin),
		"lost_from":           f.count(&p.LostFrom),
		"state":               func(path string, n *node) { f.text((*string)(&p.State))(path, n) },
		"reason":              f.text(&p.Reason),
		"gap":                 func(path string, n *node) { p.Gap = f.gap(path, n) },
		"holes":               func(path string, n *node) { f.holes(path, n, &p) },
		"claimed_at":          f.moment(&p.ClaimedAt),
		"updated_at":          f.moment(&p.UpdatedAt),
	})
	f.entry(key, p.Name, p.UID)
	if len(p.Owner) > maxIdentifier {
		f.fault("owner", "%s", longer(maxIdentifier))
	}
	if p.Owner != "" && !wire.ValidName(p.Owner) && !f.bad("owner") {
		f.fault("owner", "want the name of an instance, got %q", clip(p.Owner))
	}
	if p.Epoch == 0 && !f.bad("epoch") {
		f.fault("epoch", "want a whole number from 1")
	}
	f.implausiblePool(&p, given, e)
	if err := f.entryError(); err != nil {
		return nil, fmt.Errorf("pool %q: %w", key, err)
	}
	return &p, nil
}

func (f *fields) checkpoint(path string, n *node, c *wire.Checkpoint) {
	f.object(path, n, map[string]reader{
		"floor":  f.count(&c.Floor),
		"ranges": f.ranges(&c.Ranges),
	})
	f.ascend(path, c.Ranges, c.Floor)
}

// ascend finds fault with ranges that do not ascend above a sequence.
func (f *fields) ascend(path string, ranges [][2]uint64, last uint64) {
	for i, r := range ranges {
		if r[0] <= last || r[1] < r[0] {
			f.fault(index(join(path, "ranges"), i), "ranges must ascend, apart from each other and above the floor")
			return
		}
		last = r[1]
	}
}

func (f *fields) ranges(into *[][2]uint64) reader {
	return func(path string, n *node) { f.readRanges(path, n, into) }
}

func (f *fields) readRanges(path string, n *node, into *[][2]uint64) {
	if !f.want(path, n, kindArray) {
		return
	}
	for i, item := range n.list {
		at := index(path, i)
		if item.kind != kindArray || len(item.list) != 2 {
			f.fault(at, "want a first and a last sequence")
			return
		}
		var r [2]uint64
		f.count(&r[0])(index(at, 0), item.list[0])
		f.count(&r[1])(index(at, 1), item.list[1])
		*into = append(*into, r)
	}
}

func (f *fields) gap(path string, n *node) *wire.Gap {
	var g wire.Gap
	f.object(path, n, map[string]reader{
		"from":       f.count(&g.From),
		"to":         f.count(&g.To),
		"at":         f.moment(&g.At),
		"count":      f.count(&g.Count),
		"kind":       f.text(&g.Kind),
		"generation": f.count(&g.Generation),
		"paused":     f.yes(&g.Paused),
	})
	return &g
}

func (f *fields) holes(path string, n *node, p *wire.Pool) {
	var h wire.Holes
	f.object(path, n, map[string]reader{
		"to":     f.count(&h.To),
		"ranges": f.ranges(&h.Ranges),
		"many":   f.yes(&h.Many),
	})
	f.ascend(path, h.Ranges, 0)
	p.Holes = &h
}

// entryTree parses an entry, and tells a newer schema from damage.
func entryTree(value []byte) (*node, error) {
	if len(value) > maxEntryBytes {
		return nil, fmt.Errorf("%d bytes: want at most %d", len(value), maxEntryBytes)
	}
	tree, err := parseTree(value)
	if err != nil {
		return nil, err
	}
	if tree.kind != kindObject {
		return nil, fmt.Errorf("want an object, got %s", tree.kind)
	}
	for _, m := range tree.members { // a wrong type is reported with the rest
		if v, err := strconv.ParseInt(m.node.text, 10, 64); m.name == "schema" && err == nil && v > wire.SchemaVersion {
			return nil, fmt.Errorf("schema %d: %w", v, ErrNewerSchema)
		}
	}
	return tree, nil
}

// entry judges what records and pools have in common.
func (f *fields) entry(key, name, uid string) {
	if !wire.ValidName(key) {
		f.fault("", "the key is not a subscription's name")
	}
	if name != key && !f.bad("name") {
		f.fault("name", "%q is not the key", clip(name))
	}
	if (uid == "" || len(uid) > maxIdentifier) && !f.bad("uid") {
		f.fault("uid", "want 1 to %d characters", maxIdentifier)
	}
}

func (f *fields) entryError() error {
	faults := f.all()
	if len(faults) == 0 {
		return nil
	}
	return &FaultsError{Faults: faults}
}

// FaultsError reports everything that is wrong with an entry.
type FaultsError struct {
	Faults []wire.Fault
}

func (e *FaultsError) Error() string {
	return (&wire.Error{ErrCode: wire.CodeBadField, Description: "wrong fields", Details: e.Faults}).Error()
}

// Start is where a subscription begins.
type Start struct {
	Sequence     uint64    // the first one to read
	StoreCreated time.Time // tells the store from another one of its name
}

// NewRecord returns the record of a new subscription at generation 1.
func NewRecord(name, uid string, spec wire.Spec, start Start, now time.Time) *wire.Record {
	return &wire.Record{
		Schema: wire.SchemaVersion, Name: name, UID: uid, Generation: 1,
		CreatedAt: now.UTC(), UpdatedAt: now.UTC(),
		StartSequence: start.Sequence, StoreCreated: start.StoreCreated.UTC(), Spec: spec,
	}
}
