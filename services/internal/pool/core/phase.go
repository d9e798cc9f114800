package core

// phase is where an item stands. An item is in one phase at a time. doc.go has
// the table of what follows what.
type phase uint8

const (
	// Behind another item of its lane.

	queued     phase = iota // its event is held
	spilled                 // its event was let go
	preloading              // its event was let go, and is on its way back

	// At the head of its lane.

	ready         // to be sent as soon as something may be sent
	readySpilled  // the same, but its event has to be reloaded first
	reloading     // its event is on its way back, and it is sent when that is there
	asking        // with the asker, which sends it where somebody may listen
	inFlight      // sent, and not answered yet
	backingOff    // waits for a time, until it may be sent or parked
	backedSpilled // the same, but its event was let go
	parking       // given up, and with the parker

	settled // finished, parked, or gone from the store

	phases int = iota
)

// String is the name of the phase in doc.go.
func (p phase) String() string {
	return [...]string{
		"queued", "spilled", "preloading", "ready", "ready spilled", "reloading",
		"asking", "in flight", "backing off", "backing off spilled", "parking", "settled",
	}[p]
}

// isSpilled reports whether the event of an item was let go, and not asked for.
func (p phase) isSpilled() bool { return p == spilled || p == readySpilled || p == backedSpilled }

// isReloading reports whether the event of an item is on its way back.
func (p phase) isReloading() bool { return p == preloading || p == reloading }

// waits reports whether an item is in the heap of those that back off.
func (p phase) waits() bool { return p == backingOff || p == backedSpilled }

// atTurn is the phase of an item that may be sent next of its lane.
func (p phase) atTurn() phase {
	switch {
	case p == preloading:
		return reloading
	case p.isSpilled():
		return readySpilled
	default:
		return ready
	}
}

// whenSpilled is the phase of an item that is let go where it stands.
func (p phase) whenSpilled() phase {
	if p == backingOff {
		return backedSpilled
	}
	return spilled
}
