package pool

import (
	"fmt"
	"time"
)

// Relieve lets go of what a pool without room would.
func (p *Pool) Relieve() {
	p.mu.Lock()
	defer p.unlock()
	p.relieve(time.Now())
}

// Held says what the pool still has on its books; "" if nothing.
func (p *Pool) Held() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	slots := 0
	for _, it := range p.slots {
		if it != nil {
			slots++
		}
	}
	if len(p.lanes)+slots+len(p.rest)+p.flight.n+p.ready.n+p.stubs+p.fetching+p.stuck+p.storing+p.bytes == 0 {
		return ""
	}
	return fmt.Sprintf("lanes %d, slots %d, resting %d, in flight %d, ready %d, let go %d, being fetched %d, blocked %d, being parked %d, bytes %d",
		len(p.lanes), slots, len(p.rest), p.flight.n, p.ready.n, p.stubs, p.fetching, p.stuck, p.storing, p.bytes)
}
