package pool

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// token4 names one delivery in a reply subject: the slot of its item, the
// item's nonce (slots are used again) and the attempt.
type token4 struct {
	slot    int
	nonce   uint32
	attempt int
}

func (t token4) String() string {
	b := make([]byte, 0, 32)
	b = strconv.AppendInt(b, int64(t.slot), 36)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(t.nonce), 36)
	b = append(b, '.')
	return string(strconv.AppendInt(b, int64(t.attempt), 36))
}

var errToken = errors.New("not a delivery token")

func parseToken(s string) (token4, error) {
	a, rest, ok1 := strings.Cut(s, ".")
	b, c, ok2 := strings.Cut(rest, ".")
	slot, err1 := strconv.ParseInt(a, 36, 32)
	nonce, err2 := strconv.ParseUint(b, 36, 32)
	attempt, err3 := strconv.ParseInt(c, 36, 32)
	if !ok1 || !ok2 || errors.Join(err1, err2, err3) != nil || slot < 0 {
		return token4{}, errToken
	}
	return token4{int(slot), uint32(nonce), int(attempt)}, nil
}

// attemptValues is the header value of an attempt.
func attemptValues(n int) []string { return []string{strconv.Itoa(n)} }

// Answer takes a subscriber's answer. Token is what followed the pool's
// AnswerPrefix in the reply subject; nobody says that no one listens there.
// It reports whether the answer settled the event, now or earlier.
func (p *Pool) Answer(token string, body []byte, nobody bool) (settledNow bool) {
	t, err := parseToken(token)
	if err != nil {
		return false
	}
	now := time.Now()
	p.mu.Lock()
	if p.closed || t.slot >= len(p.slots) {
		p.unlock()
		return false
	}
	it := p.slots[t.slot]
	if it == nil || it.nonce != t.nonce || it.phase == parking {
		p.unlock()
		return false
	}
	current := it.phase == flying && it.attempts == t.attempt
	switch {
	case nobody:
		if current {
			p.nobodyListens(it, now)
		}
	default:
		p.present(now)
		settledNow = p.heard(it, wire.ParseAnswer(body), current, now)
	}
	p.unlock()
	p.Flush()
	return settledNow
}

// heard acts on an answer. An ack or a term of an earlier attempt counts: the
// subscriber has seen the event. A nak or +WPI of an earlier one says nothing
// of this one.
func (p *Pool) heard(it *item, a wire.Answer, current bool, now time.Time) bool {
	switch a.Kind {
	case wire.AnswerAck:
		p.limit.success(p.flight.n)
		p.verdict(it, nil)
		p.stats.finished++
		p.finish(it, now)
		return true
	case wire.AnswerTerm:
		p.verdict(it, nil) // the subscriber works; it is the event that it refuses
		reason := "terminated by the subscriber"
		if a.Reason != "" {
			reason += ": " + a.Reason
		}
		p.park(it, reason, now)
		return true
	case wire.AnswerWPI:
		if current {
			p.flight.remove(it)
			it.due = now.Add(p.spec.AckWait.Std())
			p.flight.add(it)
		}
	case wire.AnswerNak:
		if current {
			p.failed(it, "refused by the subscriber (-NAK)", a.Delay, now)
		}
	}
	return false
}

var errFailed = errors.New("delivery failed")

// verdict tells the breaker how a delivery ended; context.Canceled is as if it
// had not been made.
func (p *Pool) verdict(it *item, err error) {
	if it.verdict != nil {
		it.verdict(err)
		it.verdict = nil
	}
}

// failed ends an attempt without success: the event rests, is parked, or
// blocks its lane. Delay, if not negative, is the subscriber's own wish.
func (p *Pool) failed(it *item, why string, delay time.Duration, now time.Time) {
	p.limit.failure(now)
	p.verdict(it, errFailed)
	r := p.spec.Retry
	if r.MaxAttempts > 0 && it.attempts >= r.MaxAttempts {
		if p.spec.OnExhausted != wire.ExhaustedBlock {
			p.park(it, fmt.Sprintf("%s, attempt %d of %d", why, it.attempts, r.MaxAttempts), now)
			return
		}
		p.block(it, why)
	}
	if delay < 0 {
		delay = backoff(r, it.attempts)
	}
	p.rests(it, delay, now)
}

// rests puts an item away for a while.
func (p *Pool) rests(it *item, d time.Duration, now time.Time) {
	p.leavePhase(it)
	it.phase = resting
	it.due = now.Add(d)
	heap.Push(&p.rest, it)
	p.quiet()
	p.arm(now)
}

func (p *Pool) block(it *item, why string) {
	if it.exhausted {
		return
	}
	it.exhausted = true
	p.stuck++
	p.note(wire.AdvPoolBlocked, fmt.Sprintf("the event at sequence %d has used its %d attempts (%s) and holds its lane until it succeeds",
		it.ev.Sequence, p.spec.Retry.MaxAttempts, why), map[string]any{"sequence": it.ev.Sequence, "key": it.lane.key})
}

// backoff is the wait after the n-th attempt: min·2^(n-1), at most max, and
// spread over its upper half so that retries do not come in step
// ("equal jitter", Brooker, AWS Architecture Blog, 2015).
func backoff(r wire.Retry, n int) time.Duration {
	d := r.MaxBackoff.Std()
	if shift := min(n-1, 62); shift >= 0 && r.MinBackoff.Std() <= d>>shift {
		d = r.MinBackoff.Std() << shift
	}
	return d/2 + time.Duration(rand.Int64N(int64(d/2)+1))
}

// parkAgain is how long an event waits that the parker had no room for.
const parkAgain = time.Second

// park hands an event to the parker; its lane is held until it is stored.
func (p *Pool) park(it *item, reason string, now time.Time) {
	p.leavePhase(it)
	p.verdict(it, context.Canceled) // unless the breaker has been told already
	it.phase = parking
	p.storing++
	e := Parked{
		Event: it.ev, Name: p.Name(), UID: p.cfg.Record.UID, Epoch: p.cfg.Epoch,
		Attempts: it.attempts, Reason: reason,
	}
	it.parkFor = reason
	if !p.cfg.Parker.Park(e, func() { p.parked(it, reason) }) {
		p.rests(it, parkAgain, now)
	}
}

// parked is called when the event is safe in the parked stream.
func (p *Pool) parked(it *item, reason string) {
	now := time.Now()
	p.mu.Lock()
	if !p.closed && it.phase == parking {
		p.stats.parked++
		p.note(wire.AdvEventParked, reason, map[string]any{
			"sequence": it.ev.Sequence, "event_type": it.ev.Type, "attempts": it.attempts,
		})
		p.finish(it, now)
	}
	p.unlock()
	p.Flush()
}

// How often an absent subscriber is looked for: with one event, whose attempt
// does not count if nobody gets it.
const (
	askMin    = 100 * time.Millisecond
	askMax    = 2 * time.Second
	askSettle = 250 * time.Millisecond // no "nobody" within this time: somebody is there
)

// nobodyListens notes that the server found no subscriber for a delivery.
func (p *Pool) nobodyListens(it *item, now time.Time) {
	p.takeBack(it)
	if !p.absent {
		p.absent = true
		p.askWait = askMin
	} else if p.asked {
		p.askWait = min(2*p.askWait, askMax)
	}
	p.asked = false
	p.nextAsk = now.Add(p.askWait)
	p.arm(now)
}

// present notes that somebody listens.
func (p *Pool) present(now time.Time) {
	if p.absent {
		p.absent, p.asked = false, false
		p.arm(now)
	}
}

// Tick does what time has brought: expired deliveries, ended backoffs, another
// look for a subscriber, a breaker that may be probed.
func (p *Pool) Tick(now time.Time) {
	p.mu.Lock()
	if p.closed {
		p.unlock()
		return
	}
	if p.absent && p.asked && !now.Before(p.nextAsk) {
		p.present(now)
	}
	p.armed = time.Time{}
	for it := p.flight.first; p.spec.Deliver.Mode == wire.ModeAck && it != nil && !now.Before(it.due); it = p.flight.first {
		p.failed(it, "not answered within "+p.spec.AckWait.String(), -1, now)
	}
	for len(p.rest) > 0 && !now.Before(p.rest[0].due) {
		it := heap.Pop(&p.rest).(*item)
		it.phase = ready
		if it.parkFor != "" {
			p.park(it, it.parkFor, now) // the parker had no room before
		} else {
			p.ready = append(p.ready, it)
		}
	}
	p.arm(now)
	p.unlock()
	p.Flush()
}

// arm asks to be woken at the next time that matters.
func (p *Pool) arm(now time.Time) {
	var at time.Time
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if p.flight.first != nil && p.spec.Deliver.Mode == wire.ModeAck {
		sooner(p.flight.first.due)
	}
	if len(p.rest) > 0 {
		sooner(p.rest[0].due)
	}
	if len(p.ready) > 0 || p.asked {
		if p.absent {
			sooner(p.nextAsk)
		}
		if now.Before(p.holdUntil) {
			sooner(p.holdUntil)
		}
		if !p.reopenAt.IsZero() {
			sooner(p.reopenAt)
		}
	}
	if !at.IsZero() && !p.closed && (p.armed.IsZero() || at.Before(p.armed)) {
		p.armed = at
		p.cfg.Timers.Set(p, at)
	}
}
