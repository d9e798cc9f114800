// Package core decides about the deliveries of one subscription.
//
// It is pure: it has no lock, clock, goroutine or callback. Each method is one
// step. It takes what has happened and the time, changes the pool, and notes
// what is to be done outside: the Effects. Send takes out what may be sent. The
// shell around it, package pool, has the lock and carries all of that out.
//
// # Parts
//
//   - lane: the queue of one ordering key. Only its head may be sent.
//   - items: the books of which item waits for what.
//   - flow: all that holds deliveries back, with one question, flow.next.
//     These are the limit, the pace, the breaker, the search for a subscriber
//     (presence), a connection that refused a message, and the end of the pool.
//   - room: what the pool holds and may hold. An item that takes too much room
//     is spilled: its event is let go, and reloaded when its turn comes.
//   - blockade: whether events can be parked.
//   - place: how far the pool has read, and what the store lost.
//
// # Phases
//
// An item, which is one event, is in one phase at a time. It may be spilled while
// it is queued, ready or backing off: its event was let go. In preloading and
// reloading its event is on its way back.
//
//	phase        what it waits for         what may follow
//	queued       its turn in the lane      preloading, ready, parking, backing off
//	preloading   its event, then its turn  queued, reloading
//	ready        permission to send        ready, reloading, in flight, asking, settled, parking, backing off
//	reloading    its event                 ready, parking, settled, backing off
//	asking       the asker                 in flight, ready, settled, parking, backing off
//	in flight    an answer, or ack_wait    settled, ready, parking, backing off
//	backing off  a time                    ready, backing off, settled, parking
//	parking      the parked stream         settled, backing off
//	settled      nothing                   nothing
//
// An item leaves ready, asking and backing off for settled when an ack of an
// earlier attempt comes late. A term that comes late has it parked. An item that
// is to be parked goes from its turn to parking, or backs off while events
// cannot be parked.
package core
