// Package emitter is the service that owns pools: it claims them by
// compare-and-swap, reads the stores, delivers, and keeps each pool's place.
//
// A Service connects and then makes its parts, all at once (Service.build). A
// viewer sees each pool as a decision needs it, from copies of the buckets (package
// mirror), from who lives (package lease), and from the holdings. A reconciler has a
// claimer do what claim.Decide says of it, and the claimer has a runner start, drain
// and halt the pool. A checkpointer writes where pools stand.
//
// Everything is level-triggered. Copies of the buckets and the set of live
// instances only wake the reconciler, which looks at each pool that may have
// changed. Claim and checkpoint are one entry, written at the revision last known:
// whoever was deposed fails at its next write and stops.
package emitter
