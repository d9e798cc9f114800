// Package reader reads stores for pools, each event once for all of them.
//
// A Store has one reader at the head of the stream, for all pools that keep
// up, and temporary ones for pools that have history to read. A pool that has
// no room for an event leaves its reader rather than hold back the others, and
// comes back through a temporary reader from exactly where it left.
//
// The hand-over between two readers neither loses nor repeats an event: a pool
// always knows the last sequence that it has been offered (its position), a
// reader takes a pool on only while its own position is not beyond that, and a
// pool ignores what lies at or below it. Positions are compared under the lock
// of the reader that takes the pool on.
package reader
