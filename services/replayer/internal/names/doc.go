// Package names forgets the names of subscriptions that were deleted long ago:
// it purges what the buckets still have of them, their tombstones included.
//
// A tombstone is needed for as long as somebody may not have seen it. So one goes
// when it is older than the retention, the replayer has reconciled past it, and
// neither a pool nor anything that the monitor keeps under that name is left.
// Each purge names the tombstone's revision: what was written since survives.
//
// Every step may be repeated, and nothing is remembered beyond the process: a
// Purger can be killed between any two requests, and two may run at once.
package names
