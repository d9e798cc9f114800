package reader

// stall is for how many looks in a row a reader has stood still although there is
// more to read.
type stall struct {
	reached  uint64 // at the last look: the event that it offered then, or had offered last
	looks    int
	offering bool // it was, and is, offering that event
}

// next is the stall after a look, and whether the reader has moved or is at work on
// an event. Last is the end of the store.
func (s stall) next(reached uint64, offering bool, last uint64) (next stall, moved bool) {
	moved = offering || reached != s.reached
	if reached != s.reached || offering != s.offering || !offering && reached >= last {
		return stall{reached: reached, offering: offering}, moved
	}
	return stall{reached, s.looks + 1, offering}, moved
}

// noteMove notes where the reader is, and reports whether it has moved since the
// look before, or is at work on an event.
func (r *reader) noteMove(last uint64) (moved bool) {
	r.mu.Lock()
	reached := r.reached()
	offering := r.begun > r.position.Load()
	r.mu.Unlock()
	r.stall, moved = r.stall.next(reached, offering, last)
	return moved
}

// stuckLooks is after how many looks at one event that is being offered this is
// said. A pool may keep a reader waiting for two seconds, and matching has a budget.
const stuckLooks = 10

// stuck reports, once for each event, that it is being offered for too long.
func (r *reader) stuck() bool { return r.stall.offering && r.stall.looks == stuckLooks }

// stalled reports whether a reader that could read has stood still for too many
// looks.
func (r *reader) stalled(looks int) bool {
	st := r.health.get()
	return st.Err == nil && r.stall.looks >= looks<<min(st.Reopened, 3)
}
