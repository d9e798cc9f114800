package pool

import "time"

// windowFactor says how many events a pool holds beyond those in flight, so
// that lanes behind a slow key can go on. Measured: 4 keeps the limit filled
// with 200 keys of uneven weight.
const windowFactor = 4

// bytesPerPool bounds the bodies that one pool holds, whatever their number.
const bytesPerPool = 32 << 20

// lookAgain is how often, at most, a pool that is full looks whether others have
// given bytes back, and whether events have held their lanes up that long.
const lookAgain = time.Second

// full reports whether an event of the given size has no room, and takes the
// room for it if there is some.
func (p *Pool) full(size int) bool {
	if p.takeRoom(size) {
		p.refused = 0
		return false
	}
	p.refused = size
	now := time.Now()
	if !now.Before(p.lookAt) {
		p.relieve(now)
		p.lookAt = now.Add(lookAgain)
		if p.takeRoom(size) {
			p.refused = 0
			return false
		}
	}
	p.arm(now)
	return true
}

// takeRoom takes it, or notes why there is none.
func (p *Pool) takeRoom(size int) bool {
	p.cramped, p.starved = "", false
	switch {
	case p.tracker.Ranges() >= p.cfg.MaxRanges:
		p.cramped = "the checkpoint is full"
	case p.stubs >= maxStubs:
		p.cramped = "no more events can be remembered that fail, or wait behind such or slow ones"
	case p.tracker.Open()-p.stubs >= p.window:
	case p.take(size, p.held()):
		return true
	default:
		p.starved = p.bytes+size <= bytesPerPool // so it is others that hold the bytes
	}
	return false
}

// look looks for room in a pool that is full, and makes some.
func (p *Pool) look(now time.Time) {
	p.signalRoom()
	if !p.roomy() {
		p.relieve(now)
	}
	p.lookAt = now.Add(lookAgain)
}

// relieve lets go of the events that rest, and of those behind an event that
// holds its lane up: their turn is far away, and other lanes can use the room.
// Not where events wait to be sent as it is, for others would only join them,
// nor where it is not for want of room that the pool reads nothing.
func (p *Pool) relieve(now time.Time) {
	if p.ready.n > 0 || p.circuit.tripped || p.cramped != "" {
		return
	}
	for _, it := range p.rest {
		p.shed(it)
	}
	for _, l := range p.lanes {
		if l.head.holdsUp(now) {
			p.shedBehind(l)
		}
	}
}

// holdsUp reports whether the head of a lane keeps those behind it waiting for
// far longer than it takes to fetch them again.
func (it *item) holdsUp(now time.Time) bool {
	return it.spent > 0 || it.stub || it.phase == flying && now.Sub(it.sent) >= lookAgain
}

// held is how many bytes the pool holds as the budget sees it.
func (p *Pool) held() int { return p.bytes + max(p.stubs-freeStubs, 0)*stubSize }

// take takes the bytes of an event for a pool that holds so many. One that holds
// none always has room for one, so that nothing starves.
func (p *Pool) take(size, held int) bool {
	switch {
	case held == 0:
		p.takeAnyway(size)
		return true
	case p.bytes+size > bytesPerPool, !p.cfg.Budget.take(size, held):
		return false
	}
	p.bytes += size
	return true
}

func (p *Pool) takeAnyway(size int) {
	p.cfg.Budget.force(size)
	p.bytes += size
}

func (p *Pool) giveBack(size int) {
	p.cfg.Budget.give(size)
	p.bytes -= size
}

// roomy reports whether a pool that was full should be offered events again.
// It must be false right after a refusal, or the reader would spin.
func (p *Pool) roomy() bool {
	return !p.draining &&
		p.tracker.Open()-p.stubs <= p.window/2 &&
		p.stubs <= maxStubs/2 &&
		p.tracker.Ranges() <= p.cfg.MaxRanges/2 &&
		(p.held() == 0 || !p.starved && p.bytes <= bytesPerPool/2 && p.bytes+p.refused <= bytesPerPool)
}

// signalRoom wakes who waits for room, if there is some.
func (p *Pool) signalRoom() {
	if p.starved && p.cfg.Budget.fits(p.refused, p.held()) {
		p.starved = false
	}
	if !p.roomy() {
		return
	}
	p.cramped = ""
	if p.room != nil {
		close(p.room)
		p.room = nil
	}
}
