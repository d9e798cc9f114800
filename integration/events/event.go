package events

import (
	"iter"
	"maps"

	"github.com/nats-io/nats.go"
)

// Event is an event that is not stored yet.
type Event struct {
	Subject string
	Type    string // as the contract has it: ce-type, else the last token of the subject
	Stream  string // as the contract has it
	Headers nats.Header
	Data    []byte
	JSON    bool // whether Data is JSON
}

// Msg returns the event as a message to publish. It shares the body.
func (e Event) Msg() *nats.Msg {
	return &nats.Msg{Subject: e.Subject, Header: maps.Clone(e.Headers), Data: e.Data}
}

// Subjects is what a store must capture to take all generated events, and
// the webhooks.
func Subjects() []string {
	subjects := []string{"github.>"}
	for _, d := range domains() {
		subjects = append(subjects, d.name+".>")
	}
	return subjects
}

// Generate yields the first n events of a seed. The same seed gives the same
// events; n does not change those before it.
func Generate(seed uint64, n int) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		g := generator{seed: seed, domains: domains()}
		for i := range n {
			if !yield(g.event(uint64(i))) {
				return
			}
		}
	}
}
