// Package emitter is the service that owns pools: it claims them by
// compare-and-swap, reads the stores, delivers, and keeps each pool's place.
//
// A Service connects and then makes its parts, all at once (Service.build). Each
// has one job:
//
//   - viewer sees a pool as a decision needs it, from copies of the buckets
//     (package mirror), from who lives (package lease), and from the holdings.
//   - reconciler takes pools from the workQueue and has done what claim.Decide says.
//   - claimer does it: it claims, restarts, releases, removes and loses pools.
//   - runner starts, drains and halts the pools of holdings.
//   - checkpointer writes what is due, and now and then what is idle.
//   - guard stops every pool when the session can no longer be trusted.
//   - gapPauser pauses subscriptions whose pools met gaps.
//   - handover gives all pools up at the end.
//   - listener takes answers, questions about pools and replayed transitions.
//   - reporter says how the pools are, advisories what happened to them.
//
// Everything is level-triggered. Copies of the buckets and the set of live
// instances only wake the reconciler, which looks at each pool that may have
// changed. Claim and checkpoint are one entry, written at the revision last known:
// whoever was deposed fails at its next write and stops.
//
// A kill between any two writes is safe: the entry holds a checkpoint that is
// at most a quarter of a second old, and the next owner begins there, under a
// higher epoch.
package emitter
