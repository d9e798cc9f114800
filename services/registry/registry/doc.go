// Package registry is the service that takes subscriptions: it answers the
// subscribe, unsubscribe and subscription.* requests of the contract and keeps
// the records.
//
// Requests about one name are carried out one after the other, in the order in
// which they came for each verb; those about different names run beside each
// other. Every request is answered within two seconds of its arrival: what
// cannot be done by then is refused with CodeUnavailable, which says whether a
// write may have happened. While JetStream is away a circuit breaker refuses at
// once and probes at growing intervals, so that nothing piles up.
//
// To explain an event is work that no deadline ends. A registry makes few
// explanations at a time, and none whose cost is not bounded beforehand.
//
// A registry holds no state that matters. Any number may run: they share the
// requests by a queue group, and every write is a compare-and-swap.
package registry
