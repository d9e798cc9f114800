// Package reader reads stores for pools, each event once for all of them.
//
// # Readers
//
// A Store has one reader at the head of the stream, for all pools that keep up.
// It has temporary readers for pools that have history to read. A pool that has
// no room for an event leaves its reader rather than hold back the others. It
// comes back through a temporary reader, from exactly where it left. Pools that
// are behind share the temporary readers: these begin after the largest gaps
// between them, and a pool goes to the one that is next below it.
//
// The hand-over between two readers neither loses nor repeats an event. A pool
// always knows the last sequence that it has been offered (its position). A
// reader takes a pool on only while neither its own position nor the event that
// it is offering is beyond that. A pool ignores what lies at or below its
// position. Positions are compared under the lock of the reader that takes the
// pool on.
//
// A reader whose pools all have subject filters asks JetStream for these alone,
// or for one filter that has them all. It asks for everything where its filters
// select much of the store: then the server reads faster without. When it takes on
// a pool that wants more, it takes no further event until it has been opened anew,
// with more filters, from its own position. Where nothing is for it, its position
// follows the end of the store at every look.
//
// Where the store has a place for one consumer only, the reader at the head
// yields it to the others. They share one reader until that is at the head.
//
// # Who changes what
//
// The rounds over a store are its owner: one at a time opens, closes, moves and
// fills its readers. Set.Attach, Set.Detach and Set.Retire bring members and take
// them away. Callbacks of feeds and pools never change a member. They leave word
// in the store's inbox, or a mark on the reader (arrived, pending), and ask for a
// round. Who takes the store's lock takes in the inbox first. A temporary reader
// that has come to the head is merged by the next round, 20 ms later at most.
//
// The states of a member (a pool under a store) and the order of the locks are in
// docs/architecture.md.
package reader
