package pool

import (
	"context"
	"time"
)

// Asker finds out who listens. Ask must not block: it returns false where its
// queue is full, and otherwise calls Told once, from any goroutine.
type Asker interface {
	Ask(q Question) bool
}

// Question asks who listens on a subject.
type Question struct {
	Subject string
	Target  string     // the stream that is somebody too; "": none is
	Send    func()     // sends a message, only where somebody may listen; nil: the answer is all that is wanted
	Told    func(Told) // not called if the asker ends first
}

// Told is the answer to a Question.
type Told struct {
	Who Who    // listened; where something was sent, when it was sent
	Why string // what else there is to say
}

// Who says whether anybody listens.
type Who int

// The values of Who.
const (
	Unknown Who = iota
	Nobody
	Somebody
)

// How a subscriber is looked for: with one event at a time, whose attempt does
// not count if nobody gets it.
const (
	askMin    = 100 * time.Millisecond
	askMax    = 2 * time.Second
	askSettle = 250 * time.Millisecond // no "nobody" within this time: somebody is there
)

// search is how a pool finds out whether anybody listens, since something spoke
// against it. A "no responders" is not enough: anybody can write the same. So
// the event that it was the answer to is sent again, by the asker, which sends
// it only where somebody may listen, and tells who did. No other is sent
// meanwhile.
type search struct {
	on     bool // one event at a time
	absent bool // nobody listens, as far as anybody can tell
	why    string

	next    time.Time     // when to ask again
	wait    time.Duration // between the last two times that nobody was there
	out     *item         // that asks; nil if none does
	turn    uint64        // counts those that have asked
	told    bool          // the asker has told of it
	denied  bool          // it was answered with "no responders", before that
	settles time.Time     // told: it has been received if nothing speaks against it until then

	peeking bool // the asker looks whether anybody listens but a stream
	peeked  time.Time
}

// present notes that somebody listens.
func (p *Pool) present() {
	s := &p.search
	s.on, s.absent, s.why, s.wait = false, false, "", 0
	if s.out != nil && s.out.phase == flying {
		s.out = nil
	}
}

// doubt notes that perhaps nobody listens.
func (p *Pool) doubt(now time.Time) {
	if s := &p.search; !s.on {
		s.on, s.next = true, now
	}
}

// absent notes that nobody listens. What only streams have stored was received
// by nobody either.
func (p *Pool) absent(why string, now time.Time) {
	p.doubt(now)
	s := &p.search
	s.absent, s.why = true, why
	p.later(now)
	for it := p.flight.first; it != nil; {
		next := it.right
		if it.captured {
			p.takeBack(it)
		}
		it = next
	}
}

// later puts off the next question, each time for longer.
func (p *Pool) later(now time.Time) {
	s := &p.search
	s.wait = min(max(2*s.wait, askMin), askMax)
	s.next = now.Add(s.wait)
}

// denied takes an answer that reads like the server's "no responders" to the
// delivery that is out.
func (p *Pool) denied(it *item, now time.Time) (settled bool) {
	s := &p.search
	switch {
	case it.sure:
		return p.ownWord(it, now)
	case it != s.out:
		p.takeBack(it)
		p.doubt(now)
	case !s.told:
		s.denied = true
	default:
		p.takeBack(it)
		p.absent(s.why, now)
	}
	return false
}

// ownWord takes an answer that reads like "no responders", although somebody did
// receive the delivery: it is an empty answer. The search goes on, so that the
// next such answer can be told from the server's too.
func (p *Pool) ownWord(it *item, now time.Time) (settled bool) {
	s := &p.search
	p.doubt(now)
	s.absent, s.why, s.wait, s.next = false, "", 0, now
	if it == s.out {
		s.out = nil
	}
	a := p.spec.Deliver.Empty()
	if !said(a) {
		return false
	}
	p.stats.heard = now
	return p.heard(it, a, true, now)
}

// captured takes the answer of a stream that is not the target, to the delivery
// that is out. If no subscriber is heard of, perhaps there is none.
func (p *Pool) captured(it *item, now time.Time) {
	s := &p.search
	it.captured = true
	switch {
	case it == s.out: // the asker tells
	case s.absent:
		p.takeBack(it)
	case p.stats.heard.Before(it.sent) && !s.peeking && !now.Before(s.peeked.Add(askMax)):
		s.peeking = true
		p.effects().peek = true
	}
}

// ask lets an event that is ready ask whether anybody listens.
func (p *Pool) ask(it *item) {
	p.leavePhase(it)
	it.phase = asking
	s := &p.search
	s.out, s.told, s.denied = it, false, false
	s.turn++
	e := p.effects()
	e.asks = append(e.asks, it)
}

// question hands an event that asks to the asker, with no lock held.
func (p *Pool) question(it *item) {
	p.mu.Lock()
	turn := p.search.turn
	p.mu.Unlock()
	q := p.about()
	q.Send = func() { p.sendAsked(it, turn) }
	q.Told = func(t Told) { p.told(it, turn, t) }
	if !p.cfg.Asker.Ask(q) {
		p.told(it, turn, Told{})
	}
}

// about is a question about the delivery subject.
func (p *Pool) about() Question {
	return Question{Subject: p.spec.Deliver.Subject, Target: p.spec.Deliver.Stream}
}

// sendAsked sends the event that asks, unless it has got another turn meanwhile.
func (p *Pool) sendAsked(it *item, turn uint64) {
	p.mu.Lock()
	if p.closed || p.draining || p.search.turn != turn || p.search.out != it || it.phase != asking {
		p.mu.Unlock()
		return
	}
	d := p.launch(it, time.Now())
	p.search.out = it
	p.unlock()
	p.publish([]delivery{d})
}

// told takes the asker's answer about an event.
func (p *Pool) told(it *item, turn uint64, t Told) {
	p.mu.Lock()
	s := &p.search
	if p.closed {
		p.unlock()
		return
	}
	now := time.Now()
	if s.turn == turn && s.out == it {
		s.told, s.why = true, t.Why
		p.conclude(it, t, now)
	}
	p.flush(now)
}

// conclude acts on what the asker told of the event that asks.
func (p *Pool) conclude(it *item, t Told, now time.Time) {
	s := &p.search
	if it.phase == asking { // it was not sent
		p.leavePhase(it)
		p.verdict(it, context.Canceled)
		p.makeReady(it)
		if t.Who == Nobody {
			p.absent(t.Why, now)
		} else {
			p.later(now)
		}
		return
	}
	it.sure = t.Who == Somebody
	switch {
	case t.Who == Nobody, s.denied && !it.sure:
		p.takeBack(it)
		p.absent(t.Why, now)
	case s.denied:
		p.ownWord(it, now)
	default:
		s.settles = now.Add(askSettle)
	}
}

// peek has the asker look, with no lock held.
func (p *Pool) peek() {
	q := p.about()
	q.Told = p.seen
	if !p.cfg.Asker.Ask(q) {
		p.seen(Told{})
	}
}

// seen takes the asker's answer to peek.
func (p *Pool) seen(t Told) {
	p.mu.Lock()
	if p.closed {
		p.unlock()
		return
	}
	now := time.Now()
	p.search.peeking, p.search.peeked = false, now
	if t.Who == Nobody && !p.search.absent {
		p.absent(t.Why, now)
	}
	p.flush(now)
}

// absence is the reason of the state waiting.
func (p *Pool) absence() string {
	why := "nobody listens on " + p.spec.Deliver.Subject
	if s := &p.search; s.why != "" {
		why += "; " + s.why
	}
	return why
}

// mayAsk reports whether the next event may ask.
func (s *search) mayAsk(now time.Time) bool { return s.out == nil && !now.Before(s.next) }

// wakes is when the search has something to do by itself; zero if it has not.
func (s *search) wakes() time.Time {
	if s.on && s.out != nil && s.told {
		return s.settles
	}
	return time.Time{}
}

// holds is until when the search holds deliveries back; zero if it does not, or
// not by time.
func (s *search) holds() time.Time {
	if s.on && s.out == nil {
		return s.next
	}
	return time.Time{}
}

// settled reports whether the event that asks has been received by now.
func (s *search) settled(now time.Time) bool {
	at := s.wakes()
	return !at.IsZero() && !now.Before(at)
}
