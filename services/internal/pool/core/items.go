package core

import (
	"slices"
	"time"

	"github.com/sluicehq/sluice/services/internal/heap"
)

// items are the unsettled items outside of their lanes: in the order in which
// they are to be sent, or wait, and by slot.
type items struct {
	ready    list // ready, or ready spilled
	inFlight list // all wait equally long, so the first is due first
	backoff  heap.Of[*Item]
	slots    []*Item
	free     []int32 // slots in no use
	nonce    uint32  // of the item that was given a slot last
	nonce0   uint32  // what nonce began with

	reloading int // items at the head of their lane that are reloading
	parking   int // items with the parker
	unparked  int // items to be parked that back off
	blocked   int // lanes held by items that are exhausted
}

// enter puts an item into the books of its phase.
func (b *items) enter(it *Item) {
	switch it.phase {
	case ready, readySpilled:
		b.ready.add(it)
	case reloading:
		b.reloading++
	case inFlight:
		b.inFlight.add(it)
	case backingOff, backedSpilled:
		b.backoff.Set(it, it.At)
		if it.parkFor != "" {
			b.unparked++
		}
	case parking:
		b.parking++
	}
}

// leave takes an item out of the books of its phase.
func (b *items) leave(it *Item) {
	switch it.phase {
	case ready, readySpilled:
		b.ready.remove(it)
	case reloading:
		b.reloading--
	case inFlight:
		b.inFlight.remove(it)
	case backingOff, backedSpilled:
		b.backoff.Remove(it)
		if it.parkFor != "" {
			b.unparked--
		}
	case parking:
		b.parking--
	}
}

// out is how many deliveries the limit counts: those in flight, and those that
// will be as soon as they are reloaded.
func (b *items) out() int { return b.inFlight.n + b.reloading }

// giveUp notes why an item is to be parked.
func (b *items) giveUp(it *Item, reason string) {
	if it.parkFor == "" && it.phase.waits() {
		b.unparked++
	}
	it.parkFor = reason
}

// giveSlot gives an item a slot and a nonce, by which its answers find it.
func (b *items) giveSlot(it *Item) {
	b.nonce++
	it.token.nonce = b.nonce
	if n := len(b.free); n > 0 {
		it.token.slot = b.free[n-1]
		b.free = b.free[:n-1]
		b.slots[it.token.slot] = it
		return
	}
	it.token.slot = int32(len(b.slots))
	b.slots = append(b.slots, it)
}

// freeSlot takes the slot of an item, if it has one.
func (b *items) freeSlot(it *Item) {
	if slot := it.token.slot; slot >= 0 {
		b.slots[slot] = nil
		b.free = append(b.free, slot)
	}
}

// find returns the item that a token names, nil where it is settled or there
// never was one. Issued is whether the pool did give out the token's nonce.
func (b *items) find(t Token) (it *Item, issued bool) {
	if int(t.slot) >= len(b.slots) {
		return nil, false
	}
	issued = t.nonce-b.nonce0-1 < b.nonce-b.nonce0
	if it = b.slots[t.slot]; it != nil && it.token.nonce == t.nonce {
		return it, issued
	}
	return nil, issued
}

// list is a queue of items that wait for the same thing. An item is in one at
// most, and can leave it from anywhere.
type list struct {
	first, last *Item
	n           int
}

func (l *list) add(it *Item) {
	it.left, it.right = l.last, nil
	if l.last == nil {
		l.first = it
	} else {
		l.last.right = it
	}
	l.last = it
	l.n++
}

func (l *list) addFirst(it *Item) {
	it.left, it.right = nil, l.first
	if l.first == nil {
		l.last = it
	} else {
		l.first.left = it
	}
	l.first = it
	l.n++
}

func (l *list) remove(it *Item) {
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

// hurry makes all items due that back off and are to be parked.
func (b *items) hurry(now time.Time) {
	for _, it := range slices.Clone(b.backoff) { // they change places
		if it.parkFor != "" {
			b.backoff.Set(it, now)
		}
	}
}
