package core

import "time"

// Who says whether anybody listens.
type Who int

// The values of Who.
const (
	Unknown Who = iota
	Nobody
	Somebody
)

// Told is what the servers tell of who listens.
type Told struct {
	Who Who    // listened; where something was sent, when it was sent
	Why string // what else there is to say
}

// How a subscriber is looked for: with one event at a time, whose attempt does
// not count if nobody gets it.
const (
	askMin    = 100 * time.Millisecond
	askMax    = 2 * time.Second
	askSettle = 250 * time.Millisecond // no "nobody" within this time: somebody is there
)

// presence is how a pool finds out whether anybody listens, since something
// spoke against it. A "no responders" is not enough: anybody can write the same.
// So the event that it was the answer to is sent again, by the asker, which
// sends it only where somebody may listen, and tells who did. No other is sent
// meanwhile.
type presence struct {
	searching bool   // one event is sent at a time, by the asker
	absent    bool   // nobody listens, as far as anybody can tell
	why       string // what the servers said about that

	nextAsk time.Time     // when to ask again
	pause   time.Duration // between the last two times that nobody was there
	asks    *Item         // the item that asks; nil if none does
	turn    uint64        // counts the items that have asked
	told    bool          // the asker has told of the item
	denied  bool          // before that, the item was answered with "no responders"
	settles time.Time     // told: it has been received if nothing speaks against it until then

	peeking bool      // the asker looks whether anybody listens but a stream
	peeked  time.Time // when it did last
}

// next reports whether an event may be sent now, as far as the search goes, and
// if not, when. The time is zero where that depends on the item that asks.
func (s *presence) next(now time.Time) (ok bool, at time.Time) {
	switch {
	case !s.searching:
		return true, time.Time{}
	case s.asks != nil:
		return false, time.Time{}
	default:
		return !now.Before(s.nextAsk), s.nextAsk
	}
}

// settlesAt is when the item that asks has been received if nothing speaks
// against it until then; zero if that is not known.
func (s *presence) settlesAt() time.Time {
	if s.searching && s.asks != nil && s.told {
		return s.settles
	}
	return time.Time{}
}

func (s *presence) found() {
	s.searching, s.absent, s.why, s.pause = false, false, "", 0
	if s.asks != nil && s.asks.phase == inFlight {
		s.asks = nil
	}
}

func (s *presence) doubt(now time.Time) {
	if !s.searching {
		s.searching, s.nextAsk = true, now
	}
}

// postpone puts off the next question, each time for longer.
func (s *presence) postpone(now time.Time) {
	s.pause = min(max(2*s.pause, askMin), askMax)
	s.nextAsk = now.Add(s.pause)
}

// absent notes that nobody listens. What only streams have stored was received
// by nobody either.
func (p *Pool) absent(why string, now time.Time) {
	s := &p.flow.presence
	s.doubt(now)
	s.absent, s.why = true, why
	s.postpone(now)
	for it := p.items.inFlight.first; it != nil; {
		next := it.right
		if it.captured {
			p.takeBack(it, now)
		}
		it = next
	}
}

// denied takes an answer that reads like the server's "no responders" to the
// delivery that is in flight.
func (p *Pool) denied(it *Item, now time.Time) (settled bool) {
	s := &p.flow.presence
	switch {
	case it.received:
		return p.emptyAnswer(it, now)
	case it != s.asks:
		p.takeBack(it, now)
		s.doubt(now)
	case !s.told:
		s.denied = true
	default:
		p.takeBack(it, now)
		p.absent(s.why, now)
	}
	return false
}

// emptyAnswer takes an answer that reads like "no responders", although somebody
// did receive the delivery: it is an empty answer. The search goes on, so that
// the next such answer can be told from the server's too.
func (p *Pool) emptyAnswer(it *Item, now time.Time) (settled bool) {
	s := &p.flow.presence
	s.doubt(now)
	s.absent, s.why, s.pause, s.nextAsk = false, "", 0, now
	if it == s.asks {
		s.asks = nil
	}
	a := p.spec.Deliver.Empty()
	if !isTargets(a) {
		return false
	}
	p.stats.heard = now
	return p.heard(it, a, true, now)
}

// captured takes the answer of a stream that is not the target, to the delivery
// that is in flight. If no subscriber is heard of, perhaps there is none.
func (p *Pool) captured(it *Item, now time.Time) {
	s := &p.flow.presence
	it.captured = true
	switch {
	case it == s.asks: // the asker tells
	case s.absent:
		p.takeBack(it, now)
	case p.stats.heard.Before(it.sent) && !s.peeking && !now.Before(s.peeked.Add(askMax)):
		s.peeking = true
		p.fx.Peek = true
	}
}

// ask lets an item that is ready ask whether anybody listens.
func (p *Pool) ask(it *Item) {
	p.move(it, asking)
	s := &p.flow.presence
	s.asks, s.told, s.denied = it, false, false
	s.turn++
	p.fx.Ask = Ask{it, s.turn}
}

// SendAsking returns the delivery of the item that asks. Ok is false if the item
// has got another turn meanwhile, or nothing may be sent any more.
func (p *Pool) SendAsking(now time.Time, a Ask) (d Delivery, ok bool) {
	s := &p.flow.presence
	if p.flow.shut() || s.turn != a.Turn || s.asks != a.Item || a.Item.phase != asking {
		return Delivery{}, false
	}
	d = p.launch(a.Item, now)
	s.asks = a.Item
	return d, true
}

// Told takes what the asker tells of an item.
func (p *Pool) Told(now time.Time, a Ask, t Told) {
	s := &p.flow.presence
	if p.flow.closed || s.turn != a.Turn || s.asks != a.Item {
		return
	}
	it := a.Item
	s.told, s.why = true, t.Why
	if it.phase == asking {
		p.notSent(it, t, now)
		return
	}
	it.received = t.Who == Somebody
	switch {
	case t.Who == Nobody, s.denied && !it.received:
		p.takeBack(it, now)
		p.absent(t.Why, now)
	case s.denied:
		p.emptyAnswer(it, now)
	default:
		s.settles = now.Add(askSettle)
	}
}

// notSent takes it that the asker has not sent the item that asks.
func (p *Pool) notSent(it *Item, t Told, now time.Time) {
	p.count(it, undone, now)
	p.makeReady(it, now)
	if t.Who == Nobody {
		p.absent(t.Why, now)
	} else {
		p.flow.presence.postpone(now)
	}
}

// Peeked takes what the asker tells where nothing was to be sent.
func (p *Pool) Peeked(now time.Time, t Told) {
	s := &p.flow.presence
	if p.flow.closed {
		return
	}
	s.peeking, s.peeked = false, now
	if t.Who == Nobody && !s.absent {
		p.absent(t.Why, now)
	}
}
