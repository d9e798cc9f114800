package core

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Answer takes what came back for a delivery. It reports whether the event is
// settled, by this answer or before it: so an answer that is sent again, because
// its sender did not hear of the first, has the same result.
func (p *Pool) Answer(now time.Time, t Token, a wire.Answer) (settled bool) {
	if p.flow.closed {
		return false
	}
	it, issued := p.items.find(t)
	if a.Kind == wire.AnswerCaptured && issued {
		p.stats.captured++
	}
	if it == nil {
		return issued && isTargets(a)
	}
	current := it.phase == inFlight && it.token.attempt == t.attempt
	switch {
	case it.phase == parking:
	case isTargets(a):
		p.flow.presence.found()
		p.stats.heard = now
		return p.heard(it, a, current, now)
	case a.Kind == wire.AnswerCaptured && current:
		p.captured(it, now)
	case a.Kind == wire.AnswerNobody && current:
		return p.denied(it, now)
	}
	return false
}

// isTargets reports whether an answer is what the target itself says of a
// delivery.
func isTargets(a wire.Answer) bool {
	switch a.Kind {
	case wire.AnswerNone, wire.AnswerNobody, wire.AnswerCaptured:
		return false
	}
	return true
}

// heard acts on an answer of the target. An ack or a term of an earlier attempt
// counts: the subscriber has seen the event. A nak or +WPI of an earlier one
// says nothing of this one.
func (p *Pool) heard(it *Item, a wire.Answer, current bool, now time.Time) (settled bool) {
	switch a.Kind {
	case wire.AnswerAck:
		if current {
			p.flow.limit.Answered(now, now.Sub(it.sent), p.items.inFlight.n)
		}
		p.count(it, succeeded, now)
		p.stats.finished++
		p.finish(it, now)
		return true
	case wire.AnswerTerm:
		p.count(it, succeeded, now) // the subscriber works; it is the event that it refuses
		reason := "terminated by the subscriber"
		if a.Reason != "" {
			reason += ": " + a.Reason
		}
		p.park(it, reason, now)
		return true
	case wire.AnswerWPI:
		p.stats.extended = now
		if current {
			p.items.inFlight.remove(it)
			it.At = now.Add(p.spec.AckWait.Std())
			p.items.inFlight.add(it)
		}
	case wire.AnswerNak:
		if current {
			p.failed(it, a.Reason, a.Delay, now)
		}
	}
	return false
}

// failed ends an attempt without success: the event backs off, is parked, or
// blocks its lane. Delay, if not negative, is the subscriber's own wish. A
// probe of the breaker costs its event no attempt: over a long outage the
// probes would use up the attempts of one event after the other.
func (p *Pool) failed(it *Item, why string, delay time.Duration, now time.Time) {
	if !p.flow.breaker.isProbe(it.breakerGen) {
		it.spent++
	}
	p.flow.limit.Failed(now)
	p.count(it, failed, now)
	r := p.spec.Retry
	if r.MaxAttempts > 0 && it.spent >= r.MaxAttempts {
		if p.spec.OnExhausted != wire.ExhaustedBlock {
			p.park(it, fmt.Sprintf("%s, attempt %d of %d", why, it.spent, r.MaxAttempts), now)
			return
		}
		p.block(it, why)
	}
	if delay < 0 {
		delay = backoffFor(r, max(it.spent, 1), p.lots)
	}
	p.backOff(it, delay, now)
}

// block notes that an item has used up its attempts and holds its lane.
func (p *Pool) block(it *Item, why string) {
	if it.exhausted {
		return
	}
	it.exhausted = true
	p.items.blocked++
	p.spillBehind(it.lane)
	p.noteOf(it, wire.AdvPoolBlocked, fmt.Sprintf("the event at sequence %d has used its %d attempts (%s) and holds its lane until it succeeds",
		it.event.StoreSequence(), p.spec.Retry.MaxAttempts, why), map[string]any{"key": clip(it.lane.key)})
}

// backoffFor is the wait after the n-th attempt: d = min·2^(n-1), and up to half
// of that more, so that retries do not come in step. At the maximum the spread
// goes below it instead; it never goes below the minimum.
func backoffFor(r wire.Retry, n int, lots *rand.Rand) time.Duration {
	lo := r.MinBackoff.Std()
	hi := max(r.MaxBackoff.Std(), lo)
	d := hi
	if shift := min(n-1, 62); shift >= 0 && lo <= hi>>shift {
		d = lo << shift
	}
	most := d + min(d/2, hi-d)
	least := max(lo, most-d/2)
	return least + time.Duration(lots.Int64N(int64(most-least)+1))
}
