package integration

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestMain(m *testing.M) { harness.Main(m) }

// store is the name of the store that most tests use; it captures orders.>.
const store = "ORDERS"

// setup is a whole Sluice in the test's process, and a store.
func setup(t *testing.T, opts ...harness.Option) *harness.Env {
	t.Helper()
	e := harness.New(t, opts...)
	e.Store(store, "orders.>")
	e.StartAll()
	return e
}

// spec selects everything of the store from its beginning, and retries quickly.
func spec(subject string) client.Spec {
	return client.Spec{
		Store: store, Selector: client.Selector{ByStream: []string{"$all"}}, Start: client.FromAll(),
		Deliver: client.Deliver{Subject: subject},
		Retry:   client.Retry{MinBackoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond},
	}
}

// orders makes n small events over a number of streams: orders.<stream>.placed.
func orders(n, streams int) []*nats.Msg {
	msgs := make([]*nats.Msg, n)
	for i := range msgs {
		msgs[i] = &nats.Msg{
			Subject: fmt.Sprintf("orders.s%d.placed", i%streams),
			Data:    fmt.Appendf(nil, `{"number":%d}`, i),
		}
	}
	return msgs
}

// upTo returns the sequences from..to.
func upTo(from, to uint64) []uint64 {
	var seqs []uint64
	for seq := from; seq <= to; seq++ {
		seqs = append(seqs, seq)
	}
	return seqs
}

func requireCode(t *testing.T, err error, want wire.ErrCode) {
	t.Helper()
	if got := client.CodeOf(err); got != want {
		t.Fatalf("the error is %v (%d), want code %d", err, got, want)
	}
}

// advisories returns what the advisory stream holds of one kind about a name,
// oldest first.
func advisories(t *testing.T, e *harness.Env, what, name string) []wire.Advisory {
	t.Helper()
	var found []wire.Advisory
	for _, msg := range e.Stored(wire.DefaultNamespace.StreamAdvisories(), wire.DefaultNamespace.Advisory(what, name)) {
		var a wire.Advisory
		harness.Decode(t, msg.Data, &a)
		found = append(found, a)
	}
	return found
}

func awaitAdvisory(t *testing.T, e *harness.Env, what, name string) wire.Advisory {
	t.Helper()
	var found []wire.Advisory
	e.Await("the advisory "+what+" of "+name, func() error {
		if found = advisories(t, e, what, name); len(found) == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	return found[len(found)-1]
}
