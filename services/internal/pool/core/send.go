package core

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
)

// Delivery is one message to be published: a copy of what it needs of an item.
type Delivery struct {
	Item  *Item
	Event *event.Event
	Token Token
	Err   error // why it did not leave; nil: it did
	Never bool  // it never can
}

// holdAfterError is how long a pool waits after the connection refused a message.
const holdAfterError = 250 * time.Millisecond

// Send takes out what may be sent now, up to the length of out, and returns how
// many deliveries that are. The shell publishes them, notes which did not leave,
// and calls Published if there are such, and always where the mode is publish.
func (p *Pool) Send(now time.Time, out []Delivery) (n int) {
	for n < len(out) && p.items.ready.n > 0 {
		var ok bool
		if ok, p.sendAgain = p.flow.next(now, p.items.out()); !ok {
			break
		}
		it := p.items.ready.first
		if it.spilled {
			p.reload(it, now)
			continue
		}
		it = p.pass(it, now)
		if p.flow.presence.searching {
			p.ask(it)
			continue
		}
		out[n] = p.launch(it, now)
		n++
	}
	return n
}

func (p *Pool) launch(it *Item, now time.Time) Delivery {
	if it.token.slot < 0 {
		p.items.giveSlot(it)
	}
	it.token.attempt++
	it.sent, it.received, it.captured = now, false, false
	it.At = now.Add(p.spec.AckWait.Std())
	p.move(it, inFlight)
	p.flow.pace.spend(now)
	p.stats.delivered++
	return Delivery{Item: it, Event: it.event, Token: it.token}
}

// Published takes what became of deliveries. What can never be sent is parked;
// what the connection refused for now is tried again soon. The others are
// finished where no answer is waited for.
func (p *Pool) Published(now time.Time, ds []Delivery) {
	for _, d := range ds {
		switch {
		case p.flow.closed || d.Item.phase != inFlight || d.Item.token != d.Token: // answered meanwhile
		case d.Never:
			p.park(d.Item, "cannot be sent: "+d.Err.Error(), now)
		case d.Err != nil:
			p.takeBack(d.Item, now)
			p.flow.holdUntil = now.Add(holdAfterError)
		case p.spec.Deliver.Mode == wire.ModePublish:
			p.stats.finished++
			p.finish(d.Item, now)
		}
	}
}

// takeBack makes an item in flight ready again, its attempt uncounted: it is as
// if it had never been sent.
func (p *Pool) takeBack(it *Item, now time.Time) {
	it.token.attempt--
	p.stats.delivered--
	p.count(it, undone, now)
	p.makeReady(it, now)
}

// ConnectionLost takes back all deliveries that wait for an answer: neither they
// nor the answers to them need have passed. They are sent again, before all
// others, as soon as the connection takes them. The loss is no failure of the
// target: it costs no attempt, and the breaker hears nothing of it. The next
// delivery has a higher number all the same, for the event may have arrived; an
// ack that does come for the one before counts, as it does for any other.
func (p *Pool) ConnectionLost(now time.Time) {
	if p.flow.closed || p.spec.Deliver.Mode != wire.ModeAck {
		return
	}
	for it := p.items.inFlight.last; it != nil; it = p.items.inFlight.last { // the last one first, so that the order stays
		p.count(it, undone, now)
		p.readyFirst(it)
	}
}

// ConnectionBack lets what could not be sent go without a wait.
func (p *Pool) ConnectionBack() { p.flow.holdUntil = time.Time{} }

// Token names one delivery in a reply subject: the slot of its item, the item's
// nonce (slots are used again) and the attempt.
type Token struct {
	slot    int32
	nonce   uint32
	attempt int32
}

// Attempt is the number of the delivery, as Sluice-Attempt has it.
func (t Token) Attempt() int { return int(t.attempt) }

// Reply is the reply subject of the delivery.
func (t Token) Reply(prefix string) string {
	b := make([]byte, 0, 128)
	b = append(b, prefix...)
	b = strconv.AppendInt(b, int64(t.slot), 36)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(t.nonce), 36)
	b = append(b, '.')
	return string(strconv.AppendInt(b, int64(t.attempt), 36))
}

var errToken = errors.New("not a delivery token")

// ParseToken reads what Reply put behind the prefix.
func ParseToken(s string) (Token, error) {
	a, rest, ok1 := strings.Cut(s, ".")
	b, c, ok2 := strings.Cut(rest, ".")
	slot, err1 := strconv.ParseInt(a, 36, 32)
	nonce, err2 := strconv.ParseUint(b, 36, 32)
	attempt, err3 := strconv.ParseInt(c, 36, 32)
	if !ok1 || !ok2 || errors.Join(err1, err2, err3) != nil || slot < 0 {
		return Token{}, errToken
	}
	return Token{int32(slot), uint32(nonce), int32(attempt)}, nil
}
