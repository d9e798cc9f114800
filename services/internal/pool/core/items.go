package core

import "github.com/sluicehq/sluice/services/internal/heap"

// items are the unsettled items outside of their lanes: in the order in which
// they are to be sent, or wait, and by slot.
type items struct {
	ready    list
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
	case ready:
		b.ready.add(it)
	case reloading:
		b.reloading++
	case inFlight:
		b.inFlight.add(it)
	case backingOff:
		b.backoff.Set(it, it.At)
		if it.parkFor != "" {
			b.unparked++
		}
	case parking:
		b.parking++
	}
}

func (b *items) leave(it *Item) {
	switch it.phase {
	case ready:
		b.ready.remove(it)
	case reloading:
		b.reloading--
	case inFlight:
		b.inFlight.remove(it)
	case backingOff:
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

func (l *list) add(it *Item)      { l.link(l.last, it, nil) }
func (l *list) addFirst(it *Item) { l.link(nil, it, l.first) }

// link puts an item between two neighbours; nil is the end of the list.
func (l *list) link(left, it, right *Item) {
	it.left, it.right = left, right
	*l.after(left), *l.before(right) = it, it
	l.n++
}

func (l *list) remove(it *Item) {
	*l.after(it.left), *l.before(it.right) = it.right, it.left
	it.left, it.right = nil, nil
	l.n--
}

// after is where the list has the neighbour to the right of an item, and before
// the one to the left.
func (l *list) after(it *Item) **Item {
	if it == nil {
		return &l.first
	}
	return &it.right
}

func (l *list) before(it *Item) **Item {
	if it == nil {
		return &l.last
	}
	return &it.left
}
