package pool

import "time"

// windowFactor says how many events a pool holds beyond those in flight, so
// that lanes behind a slow key can go on. Measured: 4 keeps the limit filled
// with 200 keys of uneven weight.
const windowFactor = 4

// bytesPerPool bounds the bodies that one pool holds, whatever their number.
const bytesPerPool = 32 << 20

// starvedWait is how often a pool looks whether others have given bytes back.
const starvedWait = time.Second

// full reports whether an event of the given size has no room, and takes the
// room for it if there is some.
func (p *Pool) full(size int) bool {
	p.refused, p.cramped = size, ""
	switch {
	case p.tracker.Ranges() >= p.cfg.MaxRanges:
		p.cramped = "the checkpoint is full"
	case p.stubs >= maxStubs:
		p.cramped = "no more events can be remembered that wait behind exhausted ones"
	case p.tracker.Open()-p.stubs >= p.window:
	case p.take(size):
		p.starved = false
		return false
	case p.bytes+size <= bytesPerPool: // so it is others that hold the bytes
		now := time.Now()
		p.starved = true
		p.roomAt = now.Add(starvedWait)
		p.arm(now)
	}
	return true
}

// take takes the bytes of an event. A pool that holds none always has room for
// one, so that nothing starves.
func (p *Pool) take(size int) bool {
	switch {
	case p.bytes == 0:
		p.takeAnyway(size)
		return true
	case p.bytes+size > bytesPerPool, !p.cfg.Budget.take(size):
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
		(p.bytes == 0 || !p.starved && p.bytes <= bytesPerPool/2 && p.bytes+p.refused <= bytesPerPool)
}

// signalRoom wakes who waits for room, if there is some.
func (p *Pool) signalRoom() {
	if p.starved && p.cfg.Budget.fits(p.refused) {
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
