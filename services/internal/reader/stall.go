package reader

// stall is for how many looks in a row a reader has stood still although there is
// more to read.
type stall struct {
	position uint64 // at the last look
	looks    int
}

// next is the stall after a look. Last is the end of the store. A reader that is
// offering an event may be kept waiting by a pool, and is not stalled.
func (s stall) next(position uint64, offering bool, last uint64) (next stall, moved bool) {
	moved = offering || position != s.position
	if moved || position >= last {
		return stall{position: position}, moved
	}
	return stall{position, s.looks + 1}, false
}

// noteMove notes where the reader is, and reports whether it has moved since the
// look before.
func (r *reader) noteMove(last uint64) (moved bool) {
	r.mu.Lock()
	position := r.position.Load()
	offering := r.begun > position
	r.mu.Unlock()
	r.stall, moved = r.stall.next(position, offering, last)
	return moved
}

// stalled reports whether a reader that could read has stood still for too many
// looks.
func (r *reader) stalled(looks int) bool {
	st := r.health.get()
	return st.Err == nil && r.stall.looks >= looks<<min(st.Reopened, 3)
}
