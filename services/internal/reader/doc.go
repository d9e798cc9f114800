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
// # States of a member
//
// A member is a pool under a store. Attach makes it fresh.
//
//	from               to            when
//	fresh              waiting       a look has shown what the store lacked as it began
//	waiting, and the   reading       decide says proceed, and a reader is not beyond it
//	four below         waiting       decide says proceed, and no reader is free
//	                   storeLost     the store is not the one that it began in
//	                   notBegun      the store has not reached its first event
//	                   aheadOfStore  it has read more than the look has shown
//	                   halted        the look after that shows the same: the store lost its end
//	                   halted        it waits at a gap for the pause, or lost what it had read before
//	reading            noRoom        its pool has no room for an event
//	                   atHole        it is to pause at gaps, and its reader met a hole
//	                   waiting       its reader was closed, or cannot keep it
//	                   halted        the reader at the head cannot index it
//	noRoom             waiting       its pool has room again
//	any                retiring      Retire, while holes that it has passed are not judged
//
// Detach ends all of them. So does Retire, where nothing is left to be judged, and
// the look that judges the last of the holes of one that is retiring. The four are
// atHole, aheadOfStore, notBegun and storeLost: each round decides anew about them.
//
// # Locks
//
// A lock may be taken while one before it in its line is held, never the other
// way round:
//
//	Set.mu, Store.mu, reader.mu of the head, reader.mu of a temporary reader, then the pool's
//	reader.busy, reader.mu, then the pool's
//
// The locks of inbox, health and rounds are leaves: nothing is taken under them.
// Store.mu and reader.busy are never held together, since reader.busy is held while
// messages are published, and while a reader waits for its only pool to have room.
package reader
