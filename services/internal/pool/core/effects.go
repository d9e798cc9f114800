package core

import (
	"time"

	"github.com/sluicehq/sluice/services/internal/event"
)

// Effects are what steps of the core ask the shell to do. Deliveries are no
// part of them: see Pool.Send.
type Effects struct {
	WakeAt  time.Time // call Tick then; zero: nothing changed about when
	Moved   bool      // the checkpoint or the state changed, so the entry is to be written
	Room    bool      // the pool can take events again
	Notices []Notice
	Park    []Park
	Reload  []Reload
	Ask     Ask
	Peek    bool // ask who listens, then call Peeked
}

// Notice is to be published as an advisory of the pool.
type Notice struct {
	What, Detail string // What is one of wire.Adv…
	Data         map[string]any
	Trail        map[string][]string // the headers that say which event it is about; nil: about none
}

// Park is an item to be handed to the parker. Then call Parked, or NotTaken.
type Park struct {
	Item     *Item
	Event    *event.Event
	Attempts int
	Reason   string
}

// Reload is an item whose event is to be fetched from the store. Then call Reloaded.
type Reload struct {
	Item     *Item
	Sequence uint64
	Ahead    bool // its turn has not come: others go first
}

// Ask is an item to be sent where somebody may listen, by whoever finds that out.
// Then call Told.
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

func (p *Pool) note(what, detail string, data map[string]any) {
	p.fx.Notices = append(p.fx.Notices, Notice{What: what, Detail: detail, Data: data})
}

// noteOf is note for what happened to an event. It says nothing of events that
// are advisories themselves.
func (p *Pool) noteOf(it *Item, what, detail string, data map[string]any) {
	if it.event.IsAdvisory() {
		return
	}
	data["sequence"] = it.event.StoreSequence()
	p.fx.Notices = append(p.fx.Notices, Notice{What: what, Detail: detail, Data: data, Trail: it.event.Trail()})
}
