package core

import (
	"time"

	"github.com/sluicehq/sluice/services/internal/event"
)

// Effects are what steps of the core ask the shell to do. Deliveries are no
// part of them: see Pool.Send.
type Effects struct {
	WakeAt time.Time // call Tick then; zero: nothing changed about when
	Moved  bool      // the checkpoint or the state changed, so the entry is to be written
	Room   bool      // the pool can take events again
	Tasks  *Tasks    // nil: there are none
}

// Tasks are what only few steps ask for.
type Tasks struct {
	Notices []Notice // publish as advisories
	Park    []Park   // hand to the parker, then call Parked
	Reload  []Reload // hand to the fetcher, then call Reloaded
	Ask     Ask      // ask who listens, and send the item if anybody may, then call Told
	Peek    bool     // ask who listens, then call Peeked
}

// Notice is what an advisory says of a pool.
type Notice struct {
	What, Detail string // What is one of wire.Adv…
	Data         map[string]any
	Trail        map[string][]string // the headers that say which event it is about; nil: about none
}

// Park is an item to be parked.
type Park struct {
	Item     *Item
	Event    *event.Event
	Attempts int
	Reason   string
}

// Reload is an item whose event is to be fetched from the store.
type Reload struct {
	Item     *Item
	Sequence uint64
	Ahead    bool // its turn has not come: others go first
}

// Ask is an item to be sent by whoever finds out who listens.
type Ask struct {
	Item *Item // nil: there is none
	Turn uint64
}

// Effects returns what the steps since the last call ask for.
func (p *Pool) Effects() Effects {
	p.noteState()
	fx := p.fx
	p.fx = Effects{}
	if at := p.wakeAt(); !at.IsZero() && (p.armed.IsZero() || at.Before(p.armed)) {
		p.armed, fx.WakeAt = at, at
	}
	return fx
}

// tasks are those of this step, to be added to.
func (p *Pool) tasks() *Tasks {
	if p.fx.Tasks == nil {
		p.fx.Tasks = &Tasks{}
	}
	return p.fx.Tasks
}

func (p *Pool) note(what, detail string, data map[string]any) {
	p.notice(Notice{What: what, Detail: detail, Data: data})
}

func (p *Pool) notice(n Notice) {
	t := p.tasks()
	t.Notices = append(t.Notices, n)
}

// noteOf is note for what happened to an event. It says nothing of events that
// are advisories themselves.
func (p *Pool) noteOf(it *Item, what, detail string, data map[string]any) {
	if it.event.IsAdvisory() {
		return
	}
	data["sequence"] = it.event.Sequence
	p.notice(Notice{What: what, Detail: detail, Data: data, Trail: it.event.Trail()})
}
