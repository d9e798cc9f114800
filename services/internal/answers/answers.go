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
	seats  atomic.Pointer[[]atomic.Pointer[seat]] // by slot; replaced by a longer one when all are taken

	mu   sync.Mutex // taken to change seats, not to read them
	free []uint64   // ids to be given out, one for each free slot
}

// seat is where an answer finds its pool.
type seat struct {
	id   uint64
	pool *pool.Pool
}

// An id is a slot, plus a generation for each pool that had the slot before.
const (
	generation = 1 << 32
	minSeats   = 64
)

// New returns the answers on subjects that begin with a prefix. None are taken before
// Subscribe.
func New(prefix string) *Answers {
	a := &Answers{prefix: prefix + "."}
	a.seats.Store(&[]atomic.Pointer[seat]{})
	return a
}

// Reserve returns an id for a pool and the prefix of its reply subjects. Ids
// are never used again, so that an answer to a pool that has ended finds nobody.
// The id lasts until Remove.
func (a *Answers) Reserve() (id uint64, prefix string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.free) == 0 {
		a.grow()
	}
	last := len(a.free) - 1
	id, a.free = a.free[last], a.free[:last]
	return id, a.prefix + strconv.FormatUint(id, 36) + "."
}

// grow doubles the seats. a.mu is held.
func (a *Answers) grow() {
	old := *a.seats.Load()
	seats := make([]atomic.Pointer[seat], max(minSeats, 2*len(old)))
	for slot := range old {
		seats[slot].Store(old[slot].Load())
	}
	for slot := len(seats) - 1; slot >= len(old); slot-- {
		a.free = append(a.free, uint64(slot))
	}
	a.seats.Store(&seats)
}

// Add has the answers of an id given to a pool.
func (a *Answers) Add(id uint64, p *pool.Pool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	(*a.seats.Load())[id%generation].Store(&seat{id, p})
}

// Remove ends an id, whether or not it was added.
func (a *Answers) Remove(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	(*a.seats.Load())[id%generation].Store(nil)
	a.free = append(a.free, id+generation)
}

// find returns the pool of an id, nil if there is none.
func (a *Answers) find(id uint64) *pool.Pool {
	seats := *a.seats.Load()
	if slot := id % generation; slot < uint64(len(seats)) {
		if s := seats[slot].Load(); s != nil && s.id == id {
			return s.pool
		}
	}
	return nil
}

// InFlight counts the deliveries that wait for an answer.
func (a *Answers) InFlight() int {
	n := 0
	a.each(func(p *pool.Pool) { n += p.InFlight() })
	return n
}

// each calls f with the pools that are there, one after the other.
func (a *Answers) each(f func(*pool.Pool)) {
	seats := *a.seats.Load()
	for i := range seats {
		if s := seats[i].Load(); s != nil {
			f(s.pool)
		}
	}
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
