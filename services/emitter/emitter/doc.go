// Package emitter is the service that owns pools: it claims them by
// compare-and-swap, reads the stores, delivers, and keeps each pool's place.
//
// Everything is level-triggered. Copies of the subscriptions and pools buckets
// (package mirror) and the set of live instances (package lease) only wake the
// reconciler, which looks at each pool that may have changed and takes the one
// action that claim.Decide names. Claim and checkpoint are one entry, written
// at the revision last known: whoever was deposed fails at its next write and
// stops.
//
// A kill between any two writes is safe: the entry holds a checkpoint that is
// at most a quarter of a second old, and the next owner begins there, under a
// higher epoch.
package emitter
