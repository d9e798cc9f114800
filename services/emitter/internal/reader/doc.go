// Package reader reads stores for pools, each event once for all of them.
//
// A Store has one reader at the head of the stream, for all pools that keep
// up, and temporary ones for pools that have history to read. A pool that has
// no room for an event leaves its reader rather than hold back the others, and
// comes back through a temporary reader from exactly where it left. Pools that
// are behind share the temporary readers: these begin after the largest gaps
// between them, and a pool goes to the one that is next below it.
//
// The hand-over between two readers neither loses nor repeats an event: a pool
// always knows the last sequence that it has been offered (its position), a
// reader takes a pool on only while neither its own position nor the event that
// it is offering is beyond that, and a pool ignores what lies at or below it.
// Positions are compared under the lock of the reader that takes the pool on.
//
// A reader whose pools all have subject filters asks JetStream for these alone,
// or for one filter that has them all, unless that selects much of the store:
// then the server reads faster without.
// When it takes on a pool that wants more, it takes no further event until it
// has been opened anew, with more filters, from its own position. Where nothing
// is for it, its position follows the end of the store at every look.
//
// Where the store has a place for one consumer only, the reader at the head
// yields it to the others, which share one reader until that is at the head.
package reader
