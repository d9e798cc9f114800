package parked

import (
	"slices"

	"github.com/sluicehq/sluice/pkg/wire"
)

// page finds out which of the events that it is shown belong on a page. It keeps
// as many numbers as lie before the page's end, not more.
type page struct {
	newest        bool
	offset, limit int
	before        int      // events of spans that are closed
	seen          int      // events of the open span
	last          []uint64 // of the newest: the last ones of the open span, in a ring
	found         []uint64 // in the order of the answer
}

func newPage(r wire.ParkedListRequest) *page {
	return &page{newest: r.Order == wire.ParkedNewest, offset: r.Offset, limit: r.Limit}
}

// firstSpan is how many sequences the first of several spans has.
const firstSpan = 1 << 16

// spans are the parts of all in which events are to be shown to the page. The
// newest come first, and each part is twice as large as the one before: so the
// newest are found in time, and few readings are needed.
func (p *page) spans(all span) []span {
	if !p.newest {
		return []span{all}
	}
	var out []span
	for size := uint64(firstSpan); all.to > all.after; size *= 2 {
		part := span{after: all.after, to: all.to}
		if all.to-all.after > size {
			part.after = all.to - size
		}
		out = append(out, part)
		all.to = part.after
	}
	return out
}

// add shows the page the next event of the open span, in the order of sequences.
func (p *page) add(seq uint64) {
	at := p.seen
	p.seen++
	if !p.newest {
		if at += p.before; at >= p.offset && at < p.offset+p.limit {
			p.found = append(p.found, seq)
		}
		return
	}
	switch need := p.offset + p.limit - p.before; {
	case need <= 0:
	case len(p.last) < need:
		p.last = append(p.last, seq)
	default:
		p.last[at%need] = seq
	}
}

// close ends a span. Of one that was not looked at to its end nobody knows which
// are its newest.
func (p *page) close(whole bool) {
	if p.newest && whole {
		first := p.seen - len(p.last) // the place in the span of the oldest in the ring
		for at := p.seen - 1; at >= first; at-- {
			if place := p.before + p.seen - 1 - at; place >= p.offset && place < p.offset+p.limit {
				p.found = append(p.found, p.last[at%len(p.last)])
			}
		}
	}
	p.before += p.seen
	p.seen, p.last = 0, slices.Delete(p.last, 0, len(p.last))
}
