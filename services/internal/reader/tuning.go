package reader

import "time"

// DefaultMaxReaders bounds the readers of one store, the one at the head included.
const DefaultMaxReaders = 16

// callTimeout bounds one call of the JetStream API. One that falls into an
// election is never answered, so a longer one would only delay the next.
const callTimeout = 1500 * time.Millisecond

// tuning is what tests make smaller.
type tuning struct {
	// look is how often there is a round over a store that something happens in,
	// and a look at it where that is needed.
	look time.Duration
	// rest is how long a store is left alone that nothing happens in, and share is
	// that for each store that there is. The longer one counts.
	rest, share time.Duration
	// pause is the least time between two rounds over a store. Thousands of pools
	// that come or go one after the other share them.
	pause time.Duration
	// stillLooks is how many looks a reader may stand still, although there is more to
	// read, before it is opened anew: consumers can stall without a word. Each time
	// that it does not help it may be twice as many, up to eight times.
	stillLooks int
	// grace is how long a store may be unreadable before its pools say so.
	grace time.Duration
	// patience is how long a reader with a single pool waits for room before
	// it gives up its consumer.
	patience time.Duration
	// span is how far apart, in sequences, pools may be that always share a temporary
	// reader: to read 10,000 events twice costs less than a consumer does.
	span uint64
	// backlog is how much a reader has to have before it whose filters are held
	// against what they bring.
	backlog uint64
	// trace is how often the streams that a store takes events from are looked
	// at, beyond each change of the store itself.
	trace time.Duration
	// closeTimeout is how long the end of a set waits for its consumers to end.
	closeTimeout time.Duration
}

func defaultTuning() tuning {
	return tuning{
		look: time.Second, rest: 10 * time.Second, share: 40 * time.Millisecond, pause: 20 * time.Millisecond,
		stillLooks: 2, grace: 3 * time.Second, patience: 2 * time.Second, span: 10_000, backlog: 1000,
		trace: 30 * time.Second, closeTimeout: 3 * callTimeout,
	}
}
