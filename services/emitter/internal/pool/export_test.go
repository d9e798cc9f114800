package pool

import "fmt"

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
	if len(p.lanes)+slots+len(p.rest)+p.flight.n+p.held+p.stuck+p.storing+p.bytes == 0 && p.held == 0 {
		return ""
	}
	return fmt.Sprintf("lanes %d, slots %d, resting %d, in flight %d, behind blocked ones %d, blocked %d, being parked %d, bytes %d",
		len(p.lanes), slots, len(p.rest), p.flight.n, p.held, p.stuck, p.storing, p.bytes)
}
