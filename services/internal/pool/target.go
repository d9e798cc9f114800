package pool

import (
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// Target takes deliveries that go elsewhere than to a NATS subject. Send must not
// block; what it takes it answers, or the event is late. Close ends it: what was
// not answered is dropped.
type Target interface {
	Send(Sent) error
	Close()
}

// Sent is a delivery to a target. Its event must not be changed.
type Sent struct {
	Event   *event.Event
	Attempt int
	// Answer takes what the target says of it. It may be called from any
	// goroutine, with no lock held, more than once, and never.
	Answer func(wire.Answer)
}

// handOver is publish for a target.
func (p *Pool) handOver(batch []core.Delivery) (failed bool) {
	for i := range batch {
		d := &batch[i]
		token := d.Token
		d.Err = p.cfg.Target.Send(Sent{Event: d.Event, Attempt: token.Attempt(), Answer: func(a wire.Answer) {
			p.send(func(c *core.Pool, now time.Time) { c.Answer(now, token, a) })
		}})
		failed = failed || d.Err != nil
	}
	return failed
}
