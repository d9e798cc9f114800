// Package webhook delivers events to URLs.
//
// A request is a CloudEvent in HTTP's binary mode, signed as Standard Webhooks
// says. Its answer becomes the one that a subscriber on NATS would have given:
//
//	answer                                      is
//	2xx                                         an ack
//	429, 503 with Retry-After                   a nak with that delay, at most an hour
//	410                                         a nak after an hour, and the target is gone
//	3xx: redirects are not followed             a nak that names the remedy
//	anything else, and no answer in time        a nak with the status and the first bytes
//
// # Who may be called
//
// The address is judged when it is dialled, after its name has been resolved: so
// no spelling of an address and no name that changes gets by. Addresses that are
// not public are refused, unless the operator has named them (Config.Allow).
//
// # How many at once
//
// Deliveries wait in their target until their host has a slot free, of which it
// has Config.PerHost over all targets. Of the targets that wait, the one with the
// fewest requests out goes first, so a slow one can't keep others out. A target
// holds no more than its pool has in flight.
//
// A worker holds a slot and makes one request after the other, until nothing
// waits for its host. Run owns the workers. Answers are given without a lock.
package webhook
