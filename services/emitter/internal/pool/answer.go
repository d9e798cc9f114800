package pool

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

// token4 names one delivery in a reply subject: the slot of its item, the
// item's nonce (slots are used again) and the attempt.
type token4 struct {
	slot    int
	nonce   uint32
	attempt int
}

// reply is the reply subject of the delivery.
func (t token4) reply(prefix string) string {
	b := make([]byte, 0, 128)
	b = append(b, prefix...)
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

// Answer takes what came back for a delivery. Token is what followed the pool's
// AnswerPrefix in the reply subject. It reports whether the event is settled, by
// this answer or before it: so an answer that is sent again, because its sender
// did not hear of the first, has the same result.
func (p *Pool) Answer(token string, body []byte, header nats.Header) (settled bool) {
	t, err := parseToken(token)
	if err != nil {
		return false
	}
	a := p.spec.Deliver.ReadAnswer(body, header)
	p.mu.Lock()
	if p.closed || t.slot >= len(p.slots) {
		p.unlock()
		return false
	}
	if a.Kind == wire.AnswerCaptured && p.issued(t.nonce) {
		p.stats.captured++
	}
	it := p.slots[t.slot]
	if it == nil || it.nonce != t.nonce {
		settled = said(a) && p.issued(t.nonce) // else it would still have its slot
		p.unlock()
		return settled
	}
	if it.phase == parking {
		p.unlock()
		return false
	}
	now := time.Now()
	current := it.phase == flying && it.attempts == t.attempt
	switch {
	case said(a):
		p.present()
		p.stats.heard = now
		settled = p.heard(it, a, current, now)
	case a.Kind == wire.AnswerCaptured && current:
		p.captured(it, now)
	case a.Kind == wire.AnswerNobody && current:
		settled = p.denied(it, now)
	}
	p.flush(now)
	return settled
}

// said reports whether an answer is what the target itself says of a delivery.
func said(a wire.Answer) bool {
	switch a.Kind {
	case wire.AnswerNone, wire.AnswerNobody, wire.AnswerCaptured:
		return false
	}
	return true
}

// heard acts on an answer. An ack or a term of an earlier attempt counts: the
// subscriber has seen the event. A nak or +WPI of an earlier one says nothing
// of this one.
func (p *Pool) heard(it *item, a wire.Answer, current bool, now time.Time) bool {
	switch a.Kind {
	case wire.AnswerAck:
		if current {
			p.limit.Answered(now, now.Sub(it.sent), p.flight.n)
		}
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
		p.park(it, reason)
		return true
	case wire.AnswerWPI:
		p.stats.extended = now
		if current {
			p.flight.remove(it)
			it.due = now.Add(p.spec.AckWait.Std())
			p.flight.add(it)
		}
	case wire.AnswerNak:
		if current {
			p.failed(it, a.Reason, a.Delay, now)
		}
	}
	return false
}

// failed ends an attempt without success: the event rests, is parked, or
// blocks its lane. Delay, if not negative, is the subscriber's own wish. A
// probe of the breaker costs its event no attempt: over a long outage the
// probes would use up the attempts of one event after the other.
func (p *Pool) failed(it *item, why string, delay time.Duration, now time.Time) {
	if probe := it.verdict != nil; !probe {
		it.spent++
	}
	p.limit.Failed(now)
	p.verdict(it, errFailed)
	r := p.spec.Retry
	if r.MaxAttempts > 0 && it.spent >= r.MaxAttempts {
		if p.spec.OnExhausted != wire.ExhaustedBlock {
			p.park(it, fmt.Sprintf("%s, attempt %d of %d", why, it.spent, r.MaxAttempts))
			return
		}
		p.block(it, why)
	}
	if delay < 0 {
		delay = backoff(r, max(it.spent, 1))
	}
	p.rests(it, delay, now)
}

// rests puts an item away for a while. It keeps its event, unless nobody knows
// for how long or the pool has more than it may hold.
func (p *Pool) rests(it *item, d time.Duration, now time.Time) {
	p.leavePhase(it)
	if it.exhausted || p.bytes > bytesPerPool {
		p.shed(it)
	}
	it.phase = resting
	it.due = now.Add(d)
	heap.Push(&p.rest, it)
	if it.parkFor != "" {
		p.jam.held++
	}
	p.quiet()
	p.arm(now)
}

// block notes that an item has used up its attempts and holds its lane.
func (p *Pool) block(it *item, why string) {
	if it.exhausted {
		return
	}
	it.exhausted = true
	p.stuck++
	p.shedBehind(it.lane)
	p.noteOf(it, wire.AdvPoolBlocked, fmt.Sprintf("the event at sequence %d has used its %d attempts (%s) and holds its lane until it succeeds",
		it.ev.Sequence, p.spec.Retry.MaxAttempts, why), map[string]any{"key": clip(it.lane.key)})
}

// backoff is the wait after the n-th attempt: d = min·2^(n-1), and up to half of
// that more, so that retries do not come in step. At the maximum the spread goes
// below it instead; it never goes below the minimum.
func backoff(r wire.Retry, n int) time.Duration {
	lo := r.MinBackoff.Std()
	hi := max(r.MaxBackoff.Std(), lo)
	d := hi
	if shift := min(n-1, 62); shift >= 0 && lo <= hi>>shift {
		d = lo << shift
	}
	most := d + min(d/2, hi-d)
	least := max(lo, most-d/2)
	return least + time.Duration(rand.Int64N(int64(most-least)+1))
}

// issued reports whether an item of this pool was given the nonce.
func (p *Pool) issued(nonce uint32) bool { return nonce-p.nonce0-1 < p.nonce-p.nonce0 }
