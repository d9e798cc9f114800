package core

import (
	"fmt"
	"time"
)

// AskMax is the longest pause between two questions.
const AskMax = askMax

// MakeRoom lets go of what a pool without room would.
func (p *Pool) MakeRoom(now time.Time) { p.makeRoom(now) }

// Watch has the changes of phase noted, as "from -> to".
func (p *Pool) Watch(seen map[string]bool) {
	p.moved = func(from, to phase) { seen[from.String()+" -> "+to.String()] = true }
}

// String is the name of the phase in doc.go.
func (p phase) String() string {
	return [...]string{
		"queued", "preloading", "ready", "reloading", "asking", "in flight", "backing off", "parking", "settled",
	}[p]
}

// Held says what the pool still has on its books; "" if nothing.
func (p *Pool) Held() string {
	slots := 0
	for _, it := range p.items.slots {
		if it != nil {
			slots++
		}
	}
	b := &p.items
	if len(p.lanes)+slots+len(b.backoff)+b.inFlight.n+b.ready.n+p.room.spilled+b.reloading+b.blocked+b.parking+b.unparked+p.room.bytes == 0 {
		return ""
	}
	return fmt.Sprintf("lanes %d, slots %d, backing off %d, in flight %d, ready %d, spilled %d, reloading %d, blocked %d, parking %d, to be parked %d, bytes %d",
		len(p.lanes), slots, len(b.backoff), b.inFlight.n, b.ready.n, p.room.spilled, b.reloading, b.blocked, b.parking, b.unparked, p.room.bytes)
}
