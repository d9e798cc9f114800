// Package lease says who is alive and who leads, over the sessions bucket.
//
// A Session is an instance's presence: one key, renewed at a fifth of its TTL.
// Peers watches the sessions of a service. A Leader is a lease on a role: of
// all instances at most one holds it.
//
// Trust. Whoever holds a session or a lease trusts it for TTL less a margin
// (a tenth), counted from before the last successful renewal was sent, on its
// own clock. Whoever waits for a holder to go counts a whole TTL from when it
// first saw the latest renewal, on its own clock too. So the trusted terms of
// two leaders never overlap as long as clocks run at about the same speed and
// nobody deletes the key by hand. No clock is compared with another's.
//
// Whoever waits asks the holder's process as well. Where the server says twice
// that nobody listens there, the holder is taken for gone at once. A holder that
// was only cut off then lives on beside the new one, until it hears that another
// has written its key.
//
// What this cannot give: a process that is stopped (SIGSTOP, a long pause)
// right after looking at its trust acts on it later. Whatever matters is
// therefore written by compare-and-swap or carries the epoch, which grows
// with every change of leader.
//
// All instances of a namespace must use the same TTL.
package lease
