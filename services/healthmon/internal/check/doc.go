// Package check judges the health of a Sluice installation: a pure function
// from what was seen (Snapshot) and what was seen before (Memory) to issues,
// a status per subscription and the status of the whole.
//
// Every judgement is by evidence, never by one number and never by a name
// that was put together: a pool belongs to the record of the same key and
// uid, whatever store it reads. Where something could not be learnt (a store
// did not answer, an owner was silent, a probe was not complete) nothing is
// concluded from it: an issue that depends on it is neither raised nor cleared,
// and nothing is done about one. An owner that answers and does not have the
// pool has said something, and is not silent.
//
// # Status
//
// healthy: no issues. failing: somebody does not get their events and nothing
// that they declared explains it: missing or stalled pools, lost or unreadable
// stores, corrupt or vanished records, missing buckets. degraded: any other issue. A subscription has the status
// of its own issues; paused where it is paused and nothing is failing.
//
// # Movement
//
// Whether a pool moves is judged by its owner's answers alone, and by several of
// them: time in which the monitor did not look proves nothing, since whatever
// kept it from looking may have kept the emitter from working.
//
// A reader that is opened anew again and again and does not get on has stalled in
// any state. Other waits that a pool declares are checked where that is cheap.
//
// # Time
//
// All times are the server's, but for those that an owner tells of its subscribers.
//
// What is normal while a change is on its way (a new subscription not yet
// claimed, a dead emitter's pools not yet taken over, a pool of a deleted
// subscription not yet gone, a subscriber that starts after it subscribed)
// becomes an issue only when it has lasted Config.Grace. Recheck says when
// the next such moment comes, so that the caller need not wait for a whole
// interval. Since is when an issue was first seen, kept while it lasts, and
// starts anew with a new uid.
package check
