// Package answers takes what subscribers answer, for all pools of an instance.
package answers

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// Answers takes the subscribers' answers for all pools of the instance through
// one subscription. Its subjects are <prefix>.<pool>.<token>.
type Answers struct {
	prefix string
	last   atomic.Uint64 // the id that was given out last
	pools  sync.Map      // each *pool.Pool by its id
}

// New returns the answers on subjects that begin with a prefix. None are taken before
// Subscribe.
func New(prefix string) *Answers { return &Answers{prefix: prefix + "."} }

// Reserve returns an id for a pool and the prefix of its reply subjects. Ids
// are never used again, so that an answer to a pool that has ended finds nobody.
func (a *Answers) Reserve() (id uint64, prefix string) {
	id = a.last.Add(1)
	return id, a.prefix + strconv.FormatUint(id, 36) + "."
}

// Add has the answers of an id given to a pool.
func (a *Answers) Add(id uint64, p *pool.Pool) { a.pools.Store(id, p) }

// Remove ends an id, whether or not it was added.
func (a *Answers) Remove(id uint64) { a.pools.Delete(id) }

// find returns the pool of an id, nil if there is none.
func (a *Answers) find(id uint64) *pool.Pool {
	p, _ := a.pools.Load(id)
	found, _ := p.(*pool.Pool)
	return found
}

// InFlight counts the deliveries that wait for an answer.
func (a *Answers) InFlight() int {
	n := 0
	a.each(func(p *pool.Pool) { n += p.InFlight() })
	return n
}

// each calls f with the pools that are there, one after the other.
func (a *Answers) each(f func(*pool.Pool)) {
	a.pools.Range(func(_, p any) bool {
		f(p.(*pool.Pool))
		return true
	})
}

// pendingAnswers bounds the answers that wait to be handled. Each belongs to a
// delivery in flight, and those are bounded by the pools' limits.
const pendingAnswers = 1 << 20

// Subscribe has answers taken that come in over nc, and answered where the
// subscriber asks for that.
func (a *Answers) Subscribe(nc *nats.Conn, replies *bus.Responder) error {
	sub, err := nc.Subscribe(a.prefix+">", func(m *nats.Msg) {
		if settled := a.handle(m); settled {
			_ = replies.Answer(m, nil, nil) // the subscriber may ask whether we heard; if this is lost it asks again
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to answers: %w", err)
	}
	if err := sub.SetPendingLimits(pendingAnswers, 256<<20); err != nil {
		return fmt.Errorf("bound pending answers: %w", err)
	}
	return nil
}

// handle gives an answer to its pool, and reports whether that settled something.
func (a *Answers) handle(m *nats.Msg) (settled bool) {
	if len(m.Subject) <= len(a.prefix) {
		return false
	}
	idText, token, ok := strings.Cut(m.Subject[len(a.prefix):], ".")
	id, err := strconv.ParseUint(idText, 36, 64)
	if !ok || err != nil {
		return false
	}
	p := a.find(id)
	return p != nil && p.Answer(token, m.Data, m.Header)
}

// Observe is a nats.Option of the connection that pools deliver over: it has them
// told when it is lost and when it is back, behind what the options before it do.
func (a *Answers) Observe(o *nats.Options) error {
	lost, back := o.DisconnectedErrCB, o.ReconnectedCB
	o.DisconnectedErrCB = func(nc *nats.Conn, err error) {
		if lost != nil {
			lost(nc, err)
		}
		a.each((*pool.Pool).ConnectionLost)
	}
	o.ReconnectedCB = func(nc *nats.Conn) {
		if back != nil {
			back(nc)
		}
		a.each((*pool.Pool).ConnectionBack)
	}
	return nil
}
