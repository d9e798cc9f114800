// Package pool delivers the events of one subscription.
//
// Events come in from a reader in store order (Offer), are put into lanes by
// ordering key, and go out while the pool's limit, its breaker and the presence
// of a subscriber allow it (Flush). Answers come back by token (Answer); what
// is not answered in time is tried again (Tick).
//
// Order: the next event of a lane is sent only when the one before is finished,
// so first deliveries of a key keep store order whatever happens to others.
//
// Duplicates: an event whose answer is late or lost is sent again, up to
// retry.max_attempts; an event that was answered is never sent again by the
// same pool.
//
// All of that is decided by package core, which is pure. This package is the
// shell around it, with the lock, the clock and the connections. Every call
// that changes something becomes one step of the core, between Pool.lock and
// Pool.unlock, which carries out the effects. The lock is not held while a message
// is published or a function of Config runs. A pool has no goroutine.
package pool
