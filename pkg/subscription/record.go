package subscription

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/strictjson"
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

// Entry is an entry of a bucket as it was read. A Revision of 0 and a Created of zero
// are not known.
type Entry = mirror.Entry

// EntryOf is e as the decoders take it.
func EntryOf(e jetstream.KeyValueEntry) Entry {
	return Entry{Key: e.Key(), Value: e.Value(), Revision: e.Revision(), Created: e.Created()}
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
	f := newFields()
	f.stored(tree, r, key, ns)
	f.entry(key, r.Name, r.UID)
	if r.Generation == 0 && !f.Has("generation") {
		f.Add("generation", "want a whole number from 1")
	}
	if !f.Has("spec") && r.Spec.Store == "" {
		f.Add("spec", "is required")
	}
	f.implausibleRecord(r, e)
	if err := f.entryError(); err != nil {
		return nil, fmt.Errorf("record %q: %w", key, err)
	}
	return r, nil
}

// stored reads an entry that has the fields of a subscription among its members.
// They are judged by themselves.
func (f *fields) stored(tree *strictjson.Value, into any, name string, ns wire.Namespace) {
	f.Open = true
	f.Form = func(path string, v *strictjson.Value, into any) bool {
		spec, ok := into.(*wire.Spec)
		if !ok || v.Kind == strictjson.Null {
			return f.form(path, v, into)
		}
		f.recordSpec(v, spec, name, ns)
		return true
	}
	f.Decode("", tree, into)
}

func (f *fields) recordSpec(v *strictjson.Value, s *wire.Spec, name string, ns wire.Namespace) {
	inner := newFields()
	inner.Open = true
	inner.Decode("", v, s)
	inner.complete(s)
	inner.validate(name, s, ns)
	for _, x := range inner.All() {
		f.Add(inside("spec", x.Field), "%s", x.Reason)
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
	p := new(wire.Pool)
	f := newFields()
	f.Open = true
	f.Decode("", tree, p)
	f.ascend("checkpoint.ranges", p.Checkpoint.Ranges, p.Checkpoint.Floor)
	if p.Holes != nil {
		f.ascend("holes.ranges", p.Holes.Ranges, 0)
	}
	f.entry(key, p.Name, p.UID)
	if len(p.Owner) > maxIdentifier {
		f.Add("owner", "%s", longer(maxIdentifier))
	}
	if p.Owner != "" && !wire.ValidName(p.Owner) && !f.Has("owner") {
		f.Add("owner", "want the name of an instance, got %q", strictjson.Clip(p.Owner))
	}
	if p.Epoch == 0 && !f.Has("epoch") {
		f.Add("epoch", "want a whole number from 1")
	}
	f.implausiblePool(p, e)
	if err := f.entryError(); err != nil {
		return nil, fmt.Errorf("pool %q: %w", key, err)
	}
	return p, nil
}

// ascend finds fault with ranges that do not ascend above a sequence.
func (f *fields) ascend(path string, ranges [][2]uint64, last uint64) {
	if f.Has(path) {
		return
	}
	for i, r := range ranges {
		if r[0] <= last || r[1] < r[0] {
			f.Add(strictjson.Index(path, i), "ranges must ascend, apart from each other and above the floor")
			return
		}
		last = r[1]
	}
}

// entryTree parses an entry, and tells a newer schema from damage.
func entryTree(value []byte) (*strictjson.Value, error) {
	if len(value) > maxEntryBytes {
		return nil, fmt.Errorf("%d bytes: want at most %d", len(value), maxEntryBytes)
	}
	tree, err := strictjson.Parse(value)
	if err != nil {
		return nil, err
	}
	if tree.Kind != strictjson.Object {
		return nil, fmt.Errorf("want an object, got %s", tree.Kind)
	}
	if schema := tree.Member("schema"); schema != nil { // a wrong type is reported with the rest
		if v, err := strconv.ParseInt(schema.Text, 10, 64); err == nil && v > wire.SchemaVersion {
			return nil, fmt.Errorf("schema %d: %w", v, ErrNewerSchema)
		}
	}
	return tree, nil
}

// entry judges what records and pools have in common.
func (f *fields) entry(key, name, uid string) {
	if !wire.ValidName(key) {
		f.Add("", "the key is not a subscription's name")
	}
	if name != key && !f.Has("name") {
		f.Add("name", "%q is not the key", strictjson.Clip(name))
	}
	if (uid == "" || len(uid) > maxIdentifier) && !f.Has("uid") {
		f.Add("uid", "want 1 to %d characters", maxIdentifier)
	}
}

func (f *fields) entryError() error {
	faults := f.All()
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
