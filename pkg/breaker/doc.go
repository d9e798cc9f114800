// Package breaker is a circuit breaker around calls that can fail: gobreaker's
// two-step breaker, with the settings that the services share.
//
// Closed, everything passes. After a number of consecutive failures, on demand
// only if they are of at least two different things, it opens, and nothing
// passes until OpenFor is over. It is then half open: one call is
// let through as a probe, and its outcome closes or opens the breaker. A call
// that was cancelled counts neither as a success nor as a failure.
package breaker
