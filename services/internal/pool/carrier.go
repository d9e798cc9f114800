package pool

import (
	"slices"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// carrier is a message that carries one delivery after the other. To fill a
// header map costs more than all else that is done for a delivery, and events
// of one store mostly have the same header names: while the names stay the
// same, only the values are replaced, in lists that belong to the carrier.
type carrier struct {
	msg    nats.Msg
	names  []string   // of the header, in the order of put
	values [][]string // of names, as the header has them
}

// Carriers are the messages of an instance that are in no use.
type Carriers struct{ free sync.Pool }

func (c *Carriers) take() *carrier {
	if m, ok := c.free.Get().(*carrier); ok {
		return m
	}
	return &carrier{msg: nats.Msg{Header: nats.Header{}}}
}

func (c *Carriers) give(m *carrier) {
	m.msg.Data = nil // the rest is small, and gone with the next collection
	c.free.Put(m)
}

func (c *carrier) load(p *Pool, d *core.Delivery) *nats.Msg {
	to, n := &p.cfg.Record.Spec.Deliver, 0
	n = c.put(n, wire.HeaderSubscription, p.Name())
	id := p.cfg.Replay.ID
	if id == "" {
		n = c.put(n, wire.HeaderEpoch, p.epoch)
	} else {
		n = c.put(n, wire.HeaderReplay, id) // its epochs are not those of live delivery
	}
	n = c.put(n, wire.HeaderAttempt, strconv.Itoa(d.Token.Attempt()))
	if to.Stream != "" {
		n = c.put(n, wire.HeaderMsgID, MessageID(d.Event, p.Name(), id))
	}
	for _, f := range d.Event.Fields() {
		n = c.put(n, f.Name, f.Values...)
	}
	c.cut(n)
	c.msg.Subject, c.msg.Reply, c.msg.Data = to.Subject, "", d.Event.Data
	if to.Mode == wire.ModeAck {
		c.msg.Reply = d.Token.Reply(p.cfg.AnswerPrefix)
	}
	return &c.msg
}

// MessageID is by what a stream or a URL that is a target knows a delivery. That of
// a replay is another one: it is to be taken once more.
func MessageID(e *event.Event, name, replay string) string {
	id := e.Store + ":" + strconv.FormatUint(e.StoreSequence(), 10) + ":" + name
	if replay != "" {
		id += ":" + replay
	}
	return id
}

// put sets the n-th header and returns the number of the next. A header of another
// name, or with more or fewer values, takes the place of all from there on.
func (c *carrier) put(n int, name string, values ...string) int {
	if n < len(c.names) && c.names[n] == name && len(c.values[n]) == len(values) {
		copy(c.values[n], values)
		return n + 1
	}
	c.cut(n)
	c.names = append(c.names, name)
	c.values = append(c.values, slices.Clone(values))
	c.msg.Header[name] = c.values[n]
	return n + 1
}

// cut drops the headers from the n-th on.
func (c *carrier) cut(n int) {
	for _, name := range c.names[n:] {
		delete(c.msg.Header, name)
	}
	c.names, c.values = c.names[:n], c.values[:n]
}
