package lease

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// statusNoResponders is the status by which the server says that nobody
// listens on the subject of a request.
const statusNoResponders = "503"

// probes sends requests to peers without waiting for each: the answers come
// on one subscription. Silence says nothing.
type probes struct {
	p     *Peers
	sub   *nats.Subscription
	inbox string

	reconnects uint64       // of the connection, as last seen
	mute       atomic.Int64 // unix nanoseconds until which misses prove nothing
}

func (p *Peers) startProbes() (*probes, error) {
	pr := &probes{p: p}
	if p.nc == nil {
		return pr, nil
	}
	pr.inbox = p.nc.NewInbox()
	pr.reconnects = p.nc.Stats().Reconnects
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

// reconnected reports whether our connection came back since the last call,
// and silences misses for a while if so.
func (pr *probes) reconnected() bool {
	if pr.p.nc == nil {
		return false
	}
	n := pr.p.nc.Stats().Reconnects
	if n == pr.reconnects {
		return false
	}
	pr.reconnects = n
	pr.mute.Store(time.Now().Add(min(settleTime, pr.p.cfg.TTL/2)).UnixNano())
	return true
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
	if !found && time.Now().UnixNano() < pr.mute.Load() {
		return
	}
	pr.p.probed(instance, rev, found)
}
