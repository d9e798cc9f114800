package core

import (
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/checkpoint"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/heap"
)

// Item is one event on its way through the pool. The shell hands it back as it
// got it, and looks at nothing of it.
type Item struct {
	heap.Due              // when ack_wait ends, or its backoff: only then is it in a heap
	event    *event.Event // nil while it is spilled or reloaded
	spilled  bool         // its event was let go, and has not been sent for
	stored   time.Time    // when the event was stored
	size     int          // bytes of the event
	mark     checkpoint.Mark
	phase    phase

	lane        *lane
	next        *Item // behind it in its lane
	left, right *Item // its neighbours in the list of ready items, or of those in flight

	token      Token     // of the delivery sent last; its slot is -1 before there is one
	spent      int       // attempts that failed and count towards retry.max_attempts
	sent       time.Time // when it was sent last
	breakerGen uint64    // the breaker's generation in which its outcome counts; 0: it does not
	received   bool      // somebody has got the delivery that is in flight
	captured   bool      // a stream that is not the target has stored that delivery
	exhausted  bool      // it has used its attempts, and blocks its lane
	refused    int8      // how often in a row there was no room to reload it
	parkFor    string    // why it is to be parked; "": it is not
}

// phase is where an item stands. An item is in one phase at a time. doc.go has
// the table of what follows what.
type phase uint8

const (
	// Behind another item of its lane.

	queued     phase = iota
	preloading       // its event was let go, and is on its way back

	// At the head of its lane.

	ready      // to be sent as soon as something may be sent
	reloading  // its event is on its way back, and it is sent when that is there
	asking     // with the asker, which sends it where somebody may listen
	inFlight   // sent, and not answered yet
	backingOff // waits for a time, until it may be sent or parked
	parking    // given up, and with the parker

	settled // finished, parked, or gone from the store
)

func (p phase) isReloading() bool { return p == preloading || p == reloading }

// holdsUp reports whether the head of a lane keeps those behind it waiting for
// far longer than it takes to reload them.
func (it *Item) holdsUp(now time.Time) bool {
	return it.spent > 0 || it.spilled || it.phase == inFlight && now.Sub(it.sent) >= lookAgain
}

// lane is the queue of one ordering key. Only its head may be out for delivery.
type lane struct {
	key        string
	head, tail *Item
	kept       int // items that are not spilled
}

// push appends an item and reports whether it is the first.
func (l *lane) push(it *Item) (first bool) {
	it.lane = l
	l.kept++
	if l.head == nil {
		l.head, l.tail = it, it
		return true
	}
	l.tail.next = it
	l.tail = it
	return false
}

// pop drops the head, which is settled, and returns the new one, nil if there is none.
func (l *lane) pop() *Item {
	old := l.head
	l.head, old.next = old.next, nil
	l.kept--
	if l.head == nil {
		l.tail = nil
	}
	return l.head
}

// OrderingKey returns the lane that e belongs to. Alone is true where every
// event is a lane of its own.
func OrderingKey(by wire.OrderBy, e *event.Event) (key string, alone bool) {
	switch by.Kind {
	case wire.OrderNone:
		return "", true
	case wire.OrderSubject:
		return e.Subject, false
	case wire.OrderToken:
		return subjectToken(e.Subject, by.Token), false
	case wire.OrderHeader:
		return e.HeaderValue(by.Header), false
	default:
		return e.Stream, false
	}
}

// subjectToken returns the n-th token of a subject, from 1; "" if it has fewer.
func subjectToken(subject string, n int) (token string) {
	for more := true; n > 0; n-- {
		if !more {
			return ""
		}
		token, subject, more = strings.Cut(subject, ".")
	}
	return token
}
