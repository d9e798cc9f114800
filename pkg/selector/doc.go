// Package selector decides whether an event is one that a subscription asks
// for, and tells why it is not.
//
// An [Event] is what there is to be looked at: its type, its stream, its
// headers and its payload, as the contract says what those are. A [Matcher] is
// the selector of one subscription, ready to be asked. The emitter, which
// delivers, and the registry, which explains, ask the same one.
package selector
