package emitter

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// answers takes the subscribers' answers for all pools of the instance through
// one subscription. Its subjects are <prefix>.<pool>.<token>.
type answers struct {
	prefix string

	mu    sync.RWMutex
	next  uint64
	pools map[uint64]*pool.Pool
}

func newAnswers(prefix string) *answers {
	return &answers{prefix: prefix + ".", pools: map[uint64]*pool.Pool{}}
}

// reserve returns an id for a pool and the prefix of its reply subjects. Ids
// are never used again, so that an answer to a pool that has ended finds nobody.
func (a *answers) reserve() (id uint64, prefix string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	return a.next, a.prefix + strconv.FormatUint(a.next, 36) + "."
}

func (a *answers) add(id uint64, p *pool.Pool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pools[id] = p
}

func (a *answers) remove(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pools, id)
}

// inFlight counts the deliveries that wait for an answer.
func (a *answers) inFlight() int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	n := 0
	for _, p := range a.pools {
		n += p.InFlight()
	}
	return n
}

// pendingAnswers bounds the answers that wait to be handled. Each belongs to a
// delivery in flight, and those are bounded by the pools' limits.
const pendingAnswers = 1 << 20

func (a *answers) subscribe(nc *nats.Conn) (*nats.Subscription, error) {
	sub, err := nc.Subscribe(a.prefix+">", a.handle)
	if err != nil {
		return nil, fmt.Errorf("subscribe to answers: %w", err)
	}
	if err := sub.SetPendingLimits(pendingAnswers, 256<<20); err != nil {
		return nil, fmt.Errorf("bound pending answers: %w", err)
	}
	return sub, nil
}

func (a *answers) handle(m *nats.Msg) {
	if len(m.Subject) <= len(a.prefix) {
		return
	}
	idText, token, ok := strings.Cut(m.Subject[len(a.prefix):], ".")
	id, err := strconv.ParseUint(idText, 36, 64)
	if !ok || err != nil {
		return
	}
	a.mu.RLock()
	p := a.pools[id]
	a.mu.RUnlock()
	if p == nil {
		return
	}
	settled := p.Answer(token, m.Data, nobody(m))
	if settled && m.Reply != "" {
		_ = m.Respond(nil) // the subscriber asked whether we heard; if this is lost it asks again
	}
}

// nobody reports whether the server itself answers: there was no subscriber.
func nobody(m *nats.Msg) bool {
	return len(m.Data) == 0 && m.Header.Get("Status") == "503"
}
