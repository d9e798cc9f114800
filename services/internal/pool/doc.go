// Package pool delivers the events of one subscription.
//
// Events come in from a reader in store order (Offer), are put into lanes by
// ordering key, and go out while the pool's limit, its breaker and the presence
// of a subscriber allow it (Flush). Answers come back by token (Answer); what
// is not answered in time is tried again (Tick).
//
// Order: the next event of a lane is sent only when the one before is finished,
// so first deliveries of a key keep store order whatever happens to others.
// An event that has used up its attempts and blocks its lane, and those behind
// it, are let go and fetched again when it is their turn, so that they take no
// room from other lanes. Where a pool has no room, so are those behind any event
// that fails or is slow.
// Duplicates: an event whose answer is late or lost is sent again, up to
// retry.max_attempts; an event that was answered is never sent again by the
// same pool.
//
// All of that is decided by package core, which is pure. This package is the
// shell around it. It has the lock, the clock and the connections. Every call
// becomes one step: Pool.locked is the one critical section that changes
// anything, and Pool.step the one way out of it. It carries out the effects once
// the lock is free. The lock is never held while a message is published or a
// callback runs. A pool has no goroutine.
package pool
