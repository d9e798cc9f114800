package pool

import (
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/checkpoint"
	"github.com/sluicehq/sluice/services/emitter/internal/event"
)

// phase is where an item stands.
type phase uint8

const (
	queued   phase = iota // behind another item of its lane
	ready                 // at the head of its lane, waiting to be sent
	fetching              // its event is on its way from the store
	asking                // to be sent by the asker
	flying                // sent, not answered
	resting               // waiting for a backoff to end
	parking               // given up, being parked
	settled               // finished or parked
)

// item is one event on its way through the pool.
type item struct {
	ev       *event.Event // nil in stubs and while it is fetched
	at       time.Time    // of ev, when it was stored
	lane     *lane
	next     *item // in the lane
	mark     checkpoint.Mark
	phase    phase
	attempts int // deliveries made, as Sluice-Attempt numbers them
	spent    int // attempts that failed and count towards retry.max_attempts
	slot     int // index in the slot table, from its first delivery; -1 before
	nonce    uint32
	size     int  // of ev
	stub     bool // ev was let go
	waits    int8 // of a stub for room, in a row

	sent        time.Time   // flying: when
	due         time.Time   // flying: the end of ack_wait; resting: of the backoff
	left, right *item       // neighbours while ready or flying
	place       int         // in the heap of resting items
	verdict     func(error) // tells the breaker how the probe ended; nil for others
	owed        uint64      // the breaker's era in which its outcome counts; 0: not any more
	parkFor     string      // why it is to be parked
	sure        bool        // flying: somebody has received it
	captured    bool        // flying: a stream that is not the target has stored it
	exhausted   bool        // has used up its attempts and blocks its lane
}

// lane is the queue of one ordering key; its head is the only item of the key
// that may be out for delivery.
type lane struct {
	key        string
	head, tail *item
	kept       int // items that are no stubs
}

// push appends an item and reports whether it is the first.
func (l *lane) push(it *item) (first bool) {
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

// pop drops the head and returns the new one, nil if the lane is empty.
func (l *lane) pop() *item {
	old := l.head
	l.head, old.next = old.next, nil
	l.kept--
	if l.head == nil {
		l.tail = nil
	}
	return l.head
}

// orderingKey returns the lane that e belongs to; alone is true where every
// event is a lane of its own.
func orderingKey(by wire.OrderBy, e *event.Event) (key string, alone bool) {
	switch by.Kind {
	case wire.OrderSubject:
		return e.Subject, false
	case wire.OrderNone:
		return "", true
	case wire.OrderToken:
		return token(e.Subject, by.Token), false
	case wire.OrderHeader:
		return e.HeaderValue(by.Header), false
	default:
		return e.Stream, false
	}
}

// token returns the n-th token of a subject, from 1; "" if it has fewer.
func token(subject string, n int) string {
	for ; n > 1; n-- {
		_, rest, more := strings.Cut(subject, ".")
		if !more {
			return ""
		}
		subject = rest
	}
	t, _, _ := strings.Cut(subject, ".")
	return t
}

// list is a queue of items that wait for the same thing; an item is in one at
// most, and can leave it from anywhere.
type list struct {
	first, last *item
	n           int
}

func (l *list) add(it *item) {
	it.left, it.right = l.last, nil
	if l.last == nil {
		l.first = it
	} else {
		l.last.right = it
	}
	l.last = it
	l.n++
}

func (l *list) addFirst(it *item) {
	it.left, it.right = nil, l.first
	if l.first == nil {
		l.last = it
	} else {
		l.first.left = it
	}
	l.first = it
	l.n++
}

func (l *list) remove(it *item) {
	if it.left == nil {
		l.first = it.right
	} else {
		it.left.right = it.right
	}
	if it.right == nil {
		l.last = it.left
	} else {
		it.right.left = it.left
	}
	it.left, it.right = nil, nil
	l.n--
}

// rest is a heap of resting items, the one that is due first on top.
type rest []*item

func (r rest) Len() int           { return len(r) }
func (r rest) Less(i, j int) bool { return r[i].due.Before(r[j].due) }
func (r rest) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].place, r[j].place = i, j
}

// Push is part of heap.Interface.
func (r *rest) Push(x any) {
	it := x.(*item)
	it.place = len(*r)
	*r = append(*r, it)
}

// Pop is part of heap.Interface.
func (r *rest) Pop() any {
	old := *r
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*r = old[:len(old)-1]
	return it
}
