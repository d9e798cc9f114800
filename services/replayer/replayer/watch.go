package replayer

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/wire"
)

// watch notes every move of leadership in moves until ctx ends.
type watch struct {
	nc    *nats.Conn
	ns    wire.Namespace
	own   string // key of the replayers' own lease: its moves are moveElected
	moves *moves
	log   zerolog.Logger

	pools, leases *mirror.Mirror
}

func newWatch(nc *nats.Conn, ns wire.Namespace, b *bus.Buckets, mv *moves, log zerolog.Logger) *watch {
	w := &watch{nc: nc, ns: ns, own: wire.LeaderKey(wire.ServiceReplayer), moves: mv, log: log}
	w.pools = w.mirror(b.Pools, jetstream.AllKeys, movePool)
	w.leases = w.mirror(b.Sessions, wire.LeaderKey(">"), moveLease)
	return w
}

// mirror follows the keys of a bucket and notes a move of that kind whenever
// somebody else holds one of them.
func (w *watch) mirror(kv mirror.Bucket, keys, kind string) *mirror.Mirror {
	var m *mirror.Mirror
	holders := holders{last: make(map[string]holder)}
	m = mirror.New(kv, mirror.Options{Keys: keys, Log: w.log, OnChange: func(key string) {
		if key == w.own {
			return
		}
		e, _ := m.Get(key)
		moved, another := holders.moved(key, e)
		select {
		case <-m.Synced():
			if moved {
				w.moves.note(kind, another || kind == moveLease)
			}
		default: // found there, not moved
		}
	}})
	return m
}

// run blocks until ctx ends.
func (w *watch) run(ctx context.Context) error {
	elected, err := w.nc.Subscribe("$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.*", func(m *nats.Msg) {
		stream := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
		if strings.HasPrefix(stream, "KV_"+string(w.ns)+"_") {
			w.moves.add(moveStream)
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to leader elections: %w", err)
	}
	defer func() { _ = elected.Unsubscribe() }() // fails only on a closed connection

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.pools.Run(ctx) })
	g.Go(func() error { return w.leases.Run(ctx) })
	g.Go(func() error { w.reconnects(ctx); return nil })
	return g.Wait()
}

// reconnects notes when the connection has been away: watches may have missed
// something, and so may everybody else's.
func (w *watch) reconnects(ctx context.Context) {
	back := w.nc.StatusChanged(nats.CONNECTED)
	defer w.nc.RemoveStatusListener(back)
	for {
		select {
		case <-ctx.Done():
			return
		case <-back:
			w.pools.Kick()
			w.leases.Kick()
			w.moves.add(moveReconnect)
		}
	}
}

// holder is who holds a pool or a lease, and since which epoch.
type holder struct {
	Owner    string `json:"owner"`    // who owns a pool
	Instance string `json:"instance"` // who holds a lease
	Epoch    uint64 `json:"epoch"`
}

type holders struct {
	mu   sync.Mutex
	last map[string]holder
}

// moved takes e as the key's current entry and reports whether its holder has
// changed, and whether that is since another one has taken it: else it is new,
// it is gone, or the one who has it took it anew. An entry that cannot be read
// has no holder.
func (h *holders) moved(key string, e mirror.Entry) (moved, another bool) {
	var now holder
	if !e.Deleted {
		_ = json.Unmarshal(e.Value, &now)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.last[key]
	if now == (holder{}) {
		delete(h.last, key)
	} else {
		h.last[key] = now
	}
	none := holder{}
	return now != before, now != none && before != none && (now.Owner != before.Owner || now.Instance != before.Instance)
}
