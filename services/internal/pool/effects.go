package pool

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// Parked is an event to be parked.
type Parked struct {
	core.Park
	Name, UID string
	Epoch     uint64
	Replay    string      // the id of the replay that it was delivered by; "": it was live
	Open      func() bool // whether the pool still is: a closed one wants nothing parked
	// Done is called, from any goroutine, once the event is safely stored, or
	// with an error where it could not be: a text that says so to people, and
	// that is core.ErrFull where there is no room for it.
	Done func(error)
}

// Wanted is an event to be fetched.
type Wanted struct {
	core.Reload
	Store string
	Open  func() bool // whether the pool still is
	// Got takes the event; or core.ErrGone, but only where the store is known to
	// have lost it; or any other error, after which it is asked for again. It is
	// called once, from any goroutine and with no lock of the caller's held.
	Got func(*event.Event, error)
}

// Question asks who listens on a subject.
type Question struct {
	Subject string
	Target  string          // the stream that is somebody too; "": none is
	Send    func()          // sends a message, only where somebody may listen; nil: the answer is all that is wanted
	Told    func(core.Told) // called once, from any goroutine; not if the asker ends first
}

// carryOut has done what steps of the core ask of others.
func (p *Pool) carryOut(fx *core.Effects) {
	if fx.Moved {
		p.cfg.Moved()
	}
	for _, n := range fx.Notices {
		p.cfg.Notify(n)
	}
	for _, e := range fx.Park {
		p.park(e)
	}
	for _, e := range fx.Reload {
		p.reload(e)
	}
	if a := fx.Ask; a.Item != nil {
		p.ask(func() { p.sendAsking(a) }, func(c *core.Pool, now time.Time, t core.Told) { c.Told(now, a, t) })
	}
	if fx.Peek {
		p.ask(nil, (*core.Pool).Peeked)
	}
}

func (p *Pool) park(e core.Park) {
	taken := p.cfg.Park(Parked{
		Park: e, Name: p.Name(), UID: p.cfg.Record.UID, Replay: p.cfg.Replay.ID, Epoch: p.cfg.Entry.Epoch, Open: p.open,
		Done: func(err error) { p.send(func(c *core.Pool, now time.Time) { c.Parked(now, e.Item, err) }) },
	})
	if !taken {
		p.take(nil, func(c *core.Pool, now time.Time) { c.NotTaken(now, e.Item) })
	}
}

var errQueueFull = errors.New("too many events are being fetched")

func (p *Pool) reload(e core.Reload) {
	taken := p.cfg.Fetch(Wanted{
		Reload: e, Store: p.cfg.Record.Spec.Store, Open: p.open,
		Got: func(ev *event.Event, err error) {
			if restore := p.cfg.Replay.Restore; restore != nil && err == nil {
				if ev = restore(ev); ev == nil {
					err = core.ErrGone // it was restored before: another message lies there now
				}
			}
			p.send(func(c *core.Pool, now time.Time) { c.Reloaded(now, e.Item, ev, err) })
		},
	})
	if !taken {
		p.take(nil, func(c *core.Pool, now time.Time) { c.Reloaded(now, e.Item, nil, errQueueFull) })
	}
}

// ask has the asker find out who listens, and send where anybody may. The core
// is told; where the asker has no room, that nothing is known.
func (p *Pool) ask(send func(), tell func(*core.Pool, time.Time, core.Told)) {
	to := &p.cfg.Record.Spec.Deliver
	told := func(t core.Told) { p.send(func(c *core.Pool, now time.Time) { tell(c, now, t) }) }
	if !p.cfg.Ask(Question{Subject: to.Subject, Target: to.Stream, Send: send, Told: told}) {
		told(core.Told{})
	}
}

func (p *Pool) sendAsking(a core.Ask) {
	var d [1]core.Delivery
	ok := false
	p.take(nil, func(c *core.Pool, now time.Time) { d[0], ok = c.SendAsking(now, a) })
	if !ok {
		return
	}
	if failed := p.publish(d[:]); failed {
		p.take(nil, func(c *core.Pool, now time.Time) { c.Published(now, d[:]) })
	}
}

func (p *Pool) open() bool { return view(p, func(c *core.Pool) bool { return !c.Closed() }) }

// isHopeless reports whether sending the same message again must fail again.
func isHopeless(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadHeaderMsg) || errors.Is(err, nats.ErrBadSubject)
}
