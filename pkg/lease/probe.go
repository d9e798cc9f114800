package lease

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// statusNoResponders is the status by which the server says that nobody
// listens on the subject of a request.
const statusNoResponders = "503"

// settleTime is how long nothing proves a death after this process was cut off.
const settleTime = 2 * time.Second

// settle is settleTime where the TTL is long enough.
func settle(ttl time.Duration) time.Duration { return min(settleTime, ttl/2) }

// reconnects notices that a connection came back. One goroutine uses it.
type reconnects struct {
	nc   *nats.Conn // nil: never
	seen uint64
}

func countReconnects(nc *nats.Conn) reconnects {
	r := reconnects{nc: nc}
	r.moved()
	return r
}

// moved reports whether the connection came back since the last call.
func (r *reconnects) moved() bool {
	if r.nc == nil {
		return false
	}
	before := r.seen
	r.seen = r.nc.Stats().Reconnects
	return r.seen != before
}

// probes sends requests to peers without waiting for each: the answers come
// on one subscription. Silence says nothing.
type probes struct {
	p     *Peers
	sub   *nats.Subscription
	inbox string

	reconnects reconnects
}

func (p *Peers) startProbes() (*probes, error) {
	pr := &probes{p: p, reconnects: countReconnects(p.nc)}
	if p.nc == nil {
		return pr, nil
	}
	pr.inbox = p.nc.NewInbox()
	sub, err := p.nc.Subscribe(pr.inbox+".*.*", pr.answer)
	if err != nil {
		return nil, fmt.Errorf("take answers of probes: %w", err)
	}
	pr.sub = sub
	return pr, nil
}

func (pr *probes) stop() {
	if pr.sub != nil {
		_ = pr.sub.Unsubscribe() // fails only on a closed connection
	}
}

// probe asks instance, at revision rev of its session, whether it lives.
func (pr *probes) probe(instance string, rev uint64) {
	if pr.p.nc == nil {
		return
	}
	reply := pr.inbox + "." + instance + "." + strconv.FormatUint(rev, 10)
	// An error means that we are cut off ourselves: that proves nothing.
	_ = pr.p.nc.PublishRequest(pr.p.cfg.Namespace.Session(pr.p.cfg.Service, instance), reply, nil)
}

func (pr *probes) answer(m *nats.Msg) {
	instance, r, ok := strings.Cut(strings.TrimPrefix(m.Subject, pr.inbox+"."), ".")
	rev, err := strconv.ParseUint(r, 10, 64)
	if !ok || err != nil {
		return
	}
	found := len(m.Data) > 0 || m.Header.Get("Status") != statusNoResponders
	pr.p.probed(instance, rev, found)
}
