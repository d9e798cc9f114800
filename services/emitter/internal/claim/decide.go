// Package claim decides what an emitter instance has to do about a pool: pure
// functions from what is wished, what is stored and what the instance holds.
//
// Who should own a pool is settled by rendezvous hashing over the live
// instances, so that all of them come to the same answer without talking. Who
// does own it is settled by compare-and-swap alone.
package claim

import (
	"hash/fnv"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Action is what to do about a pool.
type Action int

// The actions. Each is safe to take on a view that has just become stale:
// every one of them ends in a compare-and-swap that would fail.
const (
	None    Action = iota
	Claim          // take the pool over and run it
	Restart        // the record changed: run by the new one, under a new epoch
	Release        // another instance should have it: drain and hand over
	Remove         // the subscription was deleted: stop, and remove the entry
	Drop           // the entry is no longer ours: stop at once, write nothing
	Restore        // the entry vanished, or cannot be read: write it back
)

func (a Action) String() string {
	return [...]string{"none", "claim", "restart", "release", "remove", "drop", "restore"}[a]
}

// Held is what the instance knows of a pool that it holds.
type Held struct {
	UID            string
	Generation     uint64
	Epoch          uint64
	Revision       uint64 // of the pool entry as last written
	RecordRevision uint64 // of the record that the pool runs by
}

// View is all that a decision is made from.
type View struct {
	Me string

	Record         *wire.Record // nil: absent, deleted or unreadable
	RecordRevision uint64
	Deleted        bool // a tombstone of the record has been seen

	Pool         *wire.Pool // nil: no entry
	PoolRevision uint64     // of the entry, or of its tombstone
	PoolCorrupt  bool       // there is an entry, but it cannot be read
	PoolNewer    bool       // PoolCorrupt, and a later version wrote it
	Named        bool       // there is an entry that may name Me, even if not as its owner
	Vanished     bool       // there was an entry, and it is gone although nobody deleted it
	Awaited      bool       // Vanished, and its owner may still write it back

	Held *Held // nil: the instance does not hold the pool

	Rightful   string // who should own the pool; "" if nobody lives
	OwnerAlive bool   // whether Pool.Owner lives, ourselves included
	Contested  bool   // the pool was lost to others again and again: take it from none for now
}

// Settled reports whether there is nothing to do whatever record and entry say:
// the instance holds the pool and should, and neither of them is newer than what
// it holds; or it neither holds the pool nor should, and is not the entry's
// owner. Record, Pool, PoolCorrupt, OwnerAlive and Contested are not looked at, so that
// they need not be known.
func (v View) Settled() bool {
	if v.Held == nil {
		return v.Rightful != v.Me && !v.Named
	}
	return !v.Deleted && !v.Vanished && v.Rightful == v.Me &&
		v.RecordRevision <= v.Held.RecordRevision && v.PoolRevision <= v.Held.Revision
}

// Decide returns what to do.
func Decide(v View) Action {
	if v.Held != nil {
		return v.decideHeld()
	}
	return v.decideFree()
}

func (v View) decideHeld() Action {
	switch {
	case v.deposed():
		return Drop
	case v.Deleted:
		return Remove
	case v.Record == nil:
		return None // absence without a tombstone ends nothing
	case v.changed():
		return Restart
	case v.Vanished, v.PoolCorrupt && v.PoolRevision > v.Held.Revision:
		return Restore // with its place, before anybody begins from the start
	case v.Rightful != "" && v.Rightful != v.Me:
		return Release
	default:
		return None
	}
}

// deposed reports whether a newer entry than ours shows somebody else's claim.
func (v View) deposed() bool {
	if v.PoolRevision <= v.Held.Revision || v.PoolCorrupt && !v.PoolNewer {
		return false // what cannot be read is nobody's claim, but a later version's
	}
	return v.Pool == nil || v.Pool.Owner != v.Me || v.Pool.Epoch != v.Held.Epoch
}

// changed reports whether the record is another one than the pool runs by, and
// not merely an older one.
func (v View) changed() bool {
	return v.RecordRevision > v.Held.RecordRevision &&
		(v.Record.UID != v.Held.UID || v.Record.Generation != v.Held.Generation)
}

func (v View) decideFree() Action {
	switch {
	case v.PoolCorrupt:
		return None // it is the monitor's to quarantine first
	case v.Awaited:
		return None // who holds the pool knows its place
	case v.Rightful != v.Me && !v.stray():
		return None
	case v.Pool != nil && v.Pool.Owner != "" && v.Pool.Owner != v.Me && v.OwnerAlive:
		return None // its owner will release it
	case v.Contested && v.Pool != nil && v.Pool.Owner != "" && v.Pool.Owner != v.Me:
		return None // it will be looked at again
	case v.Deleted && v.Pool != nil:
		return Remove
	case v.Record == nil:
		return None
	case v.Pool != nil && v.Pool.UID != v.Record.UID && v.Pool.ObservedRevision > v.RecordRevision:
		return None // our view of the record is older than the entry
	default:
		return Claim
	}
}

// stray reports whether the entry names us although we do not hold the pool, as
// after a release that could not be written. While we live nobody else may take
// it over, so it is ours to claim even if another should have it: the next look
// releases it.
func (v View) stray() bool {
	return v.Pool != nil && v.Pool.Owner == v.Me && v.OwnerAlive
}

// Rightful returns the instance that should own the pool: the one whose hash
// with the name is highest (Thaler and Ravishankar, 1998). It is "" if there
// are no instances. When one comes or goes, only its share of pools moves.
func Rightful(name string, instances []string) string {
	if len(instances) == 1 {
		return instances[0]
	}
	var best string
	var bestScore uint64
	for _, in := range instances {
		if s := score(name, in); best == "" || s > bestScore || s == bestScore && in < best {
			best, bestScore = in, s
		}
	}
	return best
}

func score(name, instance string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // a hash never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(instance))
	return mix(h.Sum64())
}

// mix spreads FNV's poorly mixed high bits; it is the finalizer of MurmurHash3
// (Appleby, public domain).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
