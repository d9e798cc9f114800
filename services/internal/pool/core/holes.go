package core

import "github.com/sluicehq/sluice/pkg/wire"

// maxHoles bounds the ranges of Holes: they are written with every checkpoint
// until the pool has passed them.
const maxHoles = 256

// Began notes what the store lacks up to last, its end, as the pool begins to
// read there: ascending ranges, or that they are not known. Only the first call
// since the pool's start or a seek counts.
func (p *Pool) Began(last uint64, holes [][2]uint64, known bool) {
	if p.place.holes != nil {
		return
	}
	h := &wire.Holes{To: last, Many: !known}
	at := p.place.read
	for _, r := range holes {
		if r[1] <= at || r[0] > last {
			continue
		}
		if len(h.Ranges) == maxHoles {
			h.Ranges, h.Many = nil, true
			break
		}
		h.Ranges = append(h.Ranges, [2]uint64{max(r[0], at+1), min(r[1], last)})
	}
	p.place.holes = h
	p.fx.Moved = true
}

// HasBegun reports whether Began was called, here or by an earlier owner.
func (p *Pool) HasBegun() bool { return p.place.holes != nil }

// Holes is what Began noted, without what the pool has passed.
func (p *Pool) Holes() *wire.Holes {
	h := p.place.holes
	if h == nil {
		return nil
	}
	floor := p.place.read
	if first, open := p.tracker.Oldest(); open {
		floor = first - 1 // where a next owner begins
	}
	passed := 0
	for passed < len(h.Ranges) && h.Ranges[passed][1] <= floor {
		passed++
	}
	if passed > 0 { // h is in an entry, so another one takes its place
		h = &wire.Holes{To: h.To, Ranges: h.Ranges[passed:], Many: h.Many}
		p.place.holes = h
	}
	return h
}

// NotRead returns those of the holes of a store, in ascending ranges, that the
// pool has lost: it has not finished them, and the store held them when the pool
// began.
func (p *Pool) NotRead(holes [][2]uint64) (lost [][2]uint64) {
	for _, r := range p.place.news(holes) {
		if !p.tracker.Finished(r[0], r[1]) {
			lost = append(lost, r)
		}
	}
	return lost
}

// news leaves out of ranges what was missing when the pool began.
func (l *place) news(holes [][2]uint64) [][2]uint64 {
	switch h := l.holes; {
	case h == nil:
		return nil
	case h.Many:
		return minus(holes, [][2]uint64{{0, h.To}})
	default:
		return minus(holes, h.Ranges)
	}
}

// minus returns the ranges of a without what is in those of b. Both ascend and
// are disjoint.
func minus(a, b [][2]uint64) (rest [][2]uint64) {
	for _, r := range a {
		for len(b) > 0 && b[0][1] < r[0] {
			b = b[1:]
		}
		from := r[0]
		for _, cut := range b {
			if cut[0] > r[1] || from > r[1] {
				break
			}
			if cut[0] > from {
				rest = append(rest, [2]uint64{from, cut[0] - 1})
			}
			from = max(from, cut[1]+1)
		}
		if from <= r[1] {
			rest = append(rest, [2]uint64{from, r[1]})
		}
	}
	return rest
}
