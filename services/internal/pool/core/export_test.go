package core

import (
	"fmt"
	"time"
)

// AskMax is the longest pause between two questions.
const AskMax = askMax

// MakeRoom lets go of what a pool without room would.
func (p *Pool) MakeRoom(now time.Time) { p.makeRoom(now) }

// Watch has the pool note the changes of phase.
func (p *Pool) Watch() { p.moves = &moves{} }

// Moves are the changes of phase so far, as "from -> to".
func (p *Pool) Moves() (seen []string) {
	for from := range p.moves {
		for to, yes := range p.moves[from] {
			if yes {
				seen = append(seen, fmt.Sprintf("%s -> %s", phase(from), phase(to)))
			}
		}
	}
	return seen
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
