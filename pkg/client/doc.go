// Package client is the Go client of Sluice: it asks for subscriptions and
// receives their deliveries. It needs a NATS connection and nothing else; it
// imports package wire and nats.go only.
//
// # Asking
//
// A [Client] speaks the request interface of one namespace. Each verb is a
// method. An answer that is an error comes back as a [*wire.Error], wrapped
// with what was attempted: branch on [CodeOf], or use errors.As for the data
// in it. Where no service listens the error has [wire.CodeUnavailable] and
// says what to do about it; nothing was done then. A request that is not
// answered in time wraps the context's error, and it is not known whether it
// was carried out: every verb may safely be sent again, because the same
// subscribe twice changes nothing.
//
// A [Spec] sends only the fields that are set; the registry fills in the rest.
//
// A replay delivers a range of the store again: [Client.PreviewReplay] says what
// that would be, [Client.StartReplay] begins it, and [Client.FollowReplay] yields
// how far it is. Replayed deliveries have a [Delivery.ReplayID].
//
// # Receiving
//
// [Client.Receive] calls a [Handler] for each delivery and answers with what
// it returns: nil is an ack, [Term] gives the event up, any other error asks
// for another attempt, after the subscription's own backoff or, with
// [RetryAfter], after a given wait. A panic counts as an error. A handler
// that answers by itself, through the [Delivery], is not answered for.
//
//   - Delivery is at least once: a handler must bear repeats. The pair
//     [Delivery.Store] and [Delivery.Sequence] names an event for good.
//   - With a concurrency of 1, the default, deliveries are handled in the order
//     in which they came. With more, they overlap; the order within one key
//     holds nevertheless, as Sluice sends the next event of a key only when
//     the one before is finished.
//   - Receivers of one queue group share the deliveries of a subject. Without
//     a group every receiver gets, and answers, all of them; the first answer
//     counts.
//   - A delivery from a deposed owner, which carries a lower epoch than the
//     highest seen for its subscription, is dropped unanswered and counted.
//   - When the context ends a receiver first takes its interest back, then
//     handles what has already come, for at most the drain timeout, and only
//     then returns.
//
// [Client.Messages] is the same as an iterator, where the loop's body answers.
package client
