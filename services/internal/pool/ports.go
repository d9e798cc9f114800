package pool

import (
	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// Publisher sends messages; *nats.Conn is one. It must not keep a message or
// its header once it has returned: the pool uses them again.
type Publisher interface{ PublishMsg(*nats.Msg) error }

// Parker keeps events that cannot be delivered. Park must not block: it returns
// false where its queue is full, and otherwise calls done, from any goroutine,
// once the event is safely stored, or with an error where it could not be: a text
// that says so to people, and that is core.ErrFull where there is no room for it.
// It may drop the event of a closed pool.
type Parker interface {
	Park(p Parked, done func(error)) bool
}

// Parked is an event to be parked.
type Parked struct {
	Event    *event.Event
	Name     string
	UID      string
	Replay   string // the id of the replay that it was delivered by; "": it was live
	Epoch    uint64
	Attempts int
	Reason   string
	Open     func() bool // whether the pool still is: a closed one wants nothing parked
}

// Fetcher gets events again from their store. Fetch must not block: it returns
// false where its queue is full, and otherwise calls w.Got once, from any
// goroutine and with no lock of its own held. It may drop what a closed pool
// wants.
type Fetcher interface {
	Fetch(w Wanted) bool
}

// Wanted is an event to be fetched.
type Wanted struct {
	Store    string
	Sequence uint64
	Ahead    bool        // its turn has not come: others go first
	Open     func() bool // whether the pool still is
	// Got takes the event; or core.ErrGone, but only where the store is known to
	// have lost it; or any other error, after which it is asked for again.
	Got func(*event.Event, error)
}

// Asker finds out who listens. Ask must not block: it returns false where its
// queue is full, and otherwise calls Told once, from any goroutine.
type Asker interface {
	Ask(q Question) bool
}

// Question asks who listens on a subject.
type Question struct {
	Subject string
	Target  string          // the stream that is somebody too; "": none is
	Send    func()          // sends a message, only where somebody may listen; nil: the answer is all that is wanted
	Told    func(core.Told) // not called if the asker ends first
}
