package pool

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// carryOut has done what a step of the core asks of others.
func (p *Pool) carryOut(t *core.Tasks) {
	for _, n := range t.Notices {
		p.cfg.Notify(n)
	}
	for _, e := range t.Park {
		p.park(e)
	}
	for _, e := range t.Reload {
		p.reload(e)
	}
	if t.Ask.Item != nil {
		p.ask(t.Ask)
	}
	if t.Peek {
		p.peek()
	}
}

// park hands an event to the parker.
func (p *Pool) park(e core.Park) {
	taken := p.cfg.Parker.Park(Parked{
		Event: e.Event, Name: p.Name(), UID: p.cfg.Record.UID, Replay: p.cfg.Replay.ID, Epoch: p.cfg.Epoch,
		Attempts: e.Attempts, Reason: e.Reason, Open: p.open,
	}, func(err error) {
		p.send(func(c *core.Pool, now time.Time) { c.Parked(now, e.Item, err) })
	})
	if !taken {
		p.take(nil, func(c *core.Pool, now time.Time) { c.NotTaken(now, e.Item) })
	}
}

var errQueueFull = errors.New("too many events are being fetched")

// reload hands an event to the fetcher.
func (p *Pool) reload(e core.Reload) {
	taken := p.cfg.Fetcher.Fetch(Wanted{
		Store: p.cfg.Record.Spec.Store, Sequence: e.Sequence, Ahead: e.Ahead, Open: p.open,
		Got: func(ev *event.Event, err error) {
			p.send(func(c *core.Pool, now time.Time) { c.Reloaded(now, e.Item, ev, err) })
		},
	})
	if !taken {
		p.take(nil, func(c *core.Pool, now time.Time) { c.Reloaded(now, e.Item, nil, errQueueFull) })
	}
}

// ask has the asker find out who listens, and send an item where anybody may.
func (p *Pool) ask(a core.Ask) {
	q := p.question()
	q.Send = func() { p.sendAsking(a) }
	q.Told = func(t core.Told) {
		p.send(func(c *core.Pool, now time.Time) { c.Told(now, a, t) })
	}
	if !p.cfg.Asker.Ask(q) {
		q.Told(core.Told{})
	}
}

// sendAsking publishes the item that asks.
func (p *Pool) sendAsking(a core.Ask) {
	var d [1]core.Delivery
	ok := false
	p.take(nil, func(c *core.Pool, now time.Time) { d[0], ok = c.SendAsking(now, a) })
	if !ok {
		return
	}
	if failed := p.publish(d[:]); len(failed) > 0 {
		p.take(nil, func(c *core.Pool, now time.Time) { c.Published(now, nil, failed) })
	}
}

// peek has the asker find out who listens.
func (p *Pool) peek() {
	q := p.question()
	q.Told = func(t core.Told) {
		p.send(func(c *core.Pool, now time.Time) { c.Peeked(now, t) })
	}
	if !p.cfg.Asker.Ask(q) {
		q.Told(core.Told{})
	}
}

// question is one about the delivery subject.
func (p *Pool) question() Question {
	d := &p.cfg.Record.Spec.Deliver
	return Question{Subject: d.Subject, Target: d.Stream}
}

// open reports whether the pool has not been closed.
func (p *Pool) open() bool {
	return view(p, func(c *core.Pool) bool { return !c.Closed() })
}

// isHopeless reports whether sending the same message again must fail again.
func isHopeless(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadHeaderMsg) || errors.Is(err, nats.ErrBadSubject)
}
