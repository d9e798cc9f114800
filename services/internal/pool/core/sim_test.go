package core_test

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/selector"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// sim plays the shell of a pool and all that is around it. Its time stands
// still unless a test lets it pass.
type sim struct {
	*core.Pool
	t      *rapid.T
	spec   wire.Spec
	now    time.Time
	wakeAt time.Time // zero: the pool has not asked to be woken
	budget *core.Budget

	refuses func(seq uint64) error // what the connection says to a delivery; nil: nothing
	saw     func(sent)             // called with each delivery that leaves
	notify  func(core.Notice)
	sent    []sent
	moves   map[string]bool // the changes of phase so far, as "from -> to"

	parker  parker
	fetcher fetcher
	asker   asker
}

// sent is a delivery as the subscriber sees it.
type sent struct {
	seq     uint64
	attempt int
	token   core.Token
	at      time.Time
}

// parker plays the parked stream.
type parker struct {
	full    bool        // it takes nothing
	got     []core.Park // all that was handed over, and not given back
	waiting []core.Park // of these, what it has not stored
}

// fetcher plays the store that events are reloaded from.
type fetcher struct {
	stored map[uint64]*event.Event
	full   bool  // it takes nothing
	fail   error // what it says to everything; nil: nothing
	holds  bool  // it answers only when told
	got    []core.Reload
}

// asker plays the servers that say who listens.
type asker struct {
	who  core.Who
	full bool // it takes nothing
}

// newSim makes a pool of a specification that has a reader at the head.
func newSim(t *rapid.T, spec wire.Spec) *sim {
	s := &sim{
		t: t, spec: spec, now: time.Unix(2000, 0), budget: core.NewBudget(1 << 30),
		fetcher: fetcher{stored: map[uint64]*event.Event{}}, moves: map[string]bool{},
	}
	s.Pool = core.New(core.Config{
		Record: &wire.Record{Name: "triage", UID: "u1", Generation: 3, Spec: spec},
		Budget: s.budget, Seed: rapid.Uint64().Draw(t, "seed"),
	})
	s.Watch(s.moves)
	s.Attach(0, true)
	return s
}

// step takes a step of the pool, as the shell does, and sends what may be sent.
func (s *sim) step(f func()) {
	for f != nil {
		f()
		batch := make([]core.Delivery, 3)
		batch = batch[:s.Send(s.now, batch)]
		s.carryOut()
		f = nil
		if len(batch) > 0 {
			s.publish(batch)
			f = func() { s.Published(s.now, batch) }
		}
	}
}

// publish sends deliveries, and notes which did not leave.
func (s *sim) publish(batch []core.Delivery) {
	for i := range batch {
		d := &batch[i]
		if s.refuses != nil {
			if d.Err = s.refuses(d.Event.Sequence); d.Err != nil {
				d.Never = errors.Is(d.Err, nats.ErrMaxPayload)
				continue
			}
		}
		out := sent{d.Event.Sequence, d.Token.Attempt(), d.Token, s.now}
		s.sent = append(s.sent, out)
		if s.saw != nil {
			s.saw(out)
		}
	}
}

// carryOut does what the pool asks for.
func (s *sim) carryOut() {
	fx := s.Effects()
	if at := fx.WakeAt; !at.IsZero() && (s.wakeAt.IsZero() || at.Before(s.wakeAt)) {
		s.wakeAt = at
	}
	for _, n := range fx.Notices {
		if s.notify != nil {
			s.notify(n)
		}
	}
	for _, e := range fx.Park {
		s.park(e)
	}
	for _, e := range fx.Reload {
		s.reload(e)
	}
	if fx.Ask.Item != nil {
		s.ask(fx.Ask)
	}
	if fx.Peek {
		s.step(func() { s.Peeked(s.now, core.Told{Who: s.asker.who}) })
	}
}

func (s *sim) park(e core.Park) {
	if s.parker.full {
		s.NotTaken(s.now, e.Item)
		s.carryOut()
		return
	}
	s.parker.got = append(s.parker.got, e)
	s.parker.waiting = append(s.parker.waiting, e)
}

// parked tells what became of what has been handed over to be parked.
func (s *sim) parked(err error) {
	waiting := s.parker.waiting
	s.parker.waiting = nil
	for _, e := range waiting {
		s.step(func() { s.Parked(s.now, e.Item, err) })
	}
}

func (s *sim) reload(e core.Reload) {
	if s.fetcher.full {
		s.Reloaded(s.now, e.Item, nil, nats.ErrTimeout)
		s.carryOut()
		return
	}
	s.fetcher.got = append(s.fetcher.got, e)
	if !s.fetcher.holds {
		s.fetched()
	}
}

// fetched gives what has been asked for, or says why not.
func (s *sim) fetched() {
	got := s.fetcher.got
	s.fetcher.got = nil
	for _, e := range got {
		ev, err := s.fetcher.stored[e.Sequence], s.fetcher.fail
		if ev == nil && err == nil {
			err = core.ErrGone
		}
		s.step(func() { s.Reloaded(s.now, e.Item, ev, err) })
	}
}

func (s *sim) ask(a core.Ask) {
	told := core.Told{}
	if !s.asker.full {
		told = core.Told{Who: s.asker.who, Why: "as the servers say"}
		if told.Who != core.Nobody {
			s.sendAsking(a)
		}
	}
	s.step(func() { s.Told(s.now, a, told) })
}

func (s *sim) sendAsking(a core.Ask) {
	d, ok := s.SendAsking(s.now, a)
	s.carryOut()
	if !ok {
		return
	}
	batch := []core.Delivery{d}
	if s.publish(batch); batch[0].Err != nil {
		s.Published(s.now, batch)
		s.carryOut()
	}
}

// offer offers an event of the store, from which it can be reloaded.
func (s *sim) offer(seq uint64, subject, parkFor string) {
	e := event.New("S", selector.Message{Sequence: seq, Time: time.Unix(1000, int64(seq)), Subject: subject, Data: make([]byte, 10)})
	e.Matched()
	s.fetcher.stored[seq] = e
	if !s.Offer(e, parkFor) {
		s.t.Fatalf("no room for event %d", seq)
	}
	s.ReadTo(seq)
	s.carryOut()
}

// answer answers a delivery.
func (s *sim) answer(d sent, text string, header nats.Header) (settled bool) {
	a := s.spec.Deliver.ReadAnswer([]byte(text), header)
	s.step(func() { settled = s.Answer(s.now, d.token, a) })
	return settled
}

// nobody is the server's answer where no one listens.
func (s *sim) nobody(d sent) {
	s.answer(d, "", nats.Header{"Status": {"503"}, "Nats-Subject": {"target"}})
}

// status is what the pool says of itself.
func (s *sim) status() wire.PoolStatus {
	st := s.Status(s.now)
	s.carryOut()
	return st
}

// pass lets time pass, and wakes the pool whenever it asked for it.
func (s *sim) pass(d time.Duration) {
	end := s.now.Add(d)
	for n := 0; !s.wakeAt.IsZero() && !s.wakeAt.After(end); n++ {
		if n == 1000 {
			s.t.Fatalf("the pool is woken over and over: %+v", s.status())
		}
		if s.wakeAt.After(s.now) {
			s.now = s.wakeAt
		}
		s.wakeAt = time.Time{}
		s.step(func() { s.Tick(s.now) })
	}
	s.now = end
}

// spec is the contract's defaults.
func spec() wire.Spec {
	return wire.Spec{
		Store:       "S",
		Deliver:     wire.Deliver{Subject: "target", Mode: wire.ModeAck},
		PoolSize:    wire.PoolSize{Min: 16, Max: 1024},
		AckWait:     wire.Duration(30 * time.Second),
		Retry:       wire.Retry{MaxAttempts: 5, MinBackoff: wire.Duration(time.Second), MaxBackoff: wire.Duration(time.Minute)},
		OnExhausted: wire.ExhaustedPark,
		Breaker:     wire.Breaker{Failures: 100, OpenFor: wire.Duration(10 * time.Second)},
	}
}
