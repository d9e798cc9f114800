package hostile

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// protocolHeaders are those by which servers and client libraries talk, as an
// event may carry them.
var protocolHeaders = []nats.Header{
	{"Status": {"100"}},
	{"Status": {"200"}},
	{"Status": {"400"}},
	{"Status": {"404"}},
	{"Status": {"408"}},
	{"Status": {"409"}},
	{"Status": {"423"}},
	{"Status": {"503"}},
	{"Status": {"active"}},
	{"Status": {"shipped"}},
	{"Status": {"100"}, "Description": {"Idle Heartbeat"}},
	{"Status": {"100"}, "Description": {"Idle Heartbeat"}, "Nats-Last-Consumer": {"1"}, "Nats-Last-Stream": {"1"}},
	{"Status": {"100"}, "Description": {"FlowControl Request"}},
	{"Status": {"100"}, "Nats-Consumer-Stalled": {"sluice.v1.api.unsubscribe.all"}},
	{"Status": {"404"}, "Description": {"No Messages"}},
	{"Status": {"404"}, "Description": {"Message Not Found"}},
	{"Status": {"408"}, "Description": {"Request Timeout"}, "Nats-Pending-Messages": {"1"}, "Nats-Pending-Bytes": {"1"}},
	{"Status": {"409"}, "Description": {"Consumer Deleted"}},
	{"Status": {"409"}, "Description": {"Leadership Change"}},
	{"Status": {"409"}, "Description": {"Message Size Exceeds MaxBytes"}},
	{"Status": {"409"}, "Description": {"Server Shutdown"}},
	{"Status": {"503"}, "Description": {"No Responders"}},
	{"Description": {"Idle Heartbeat"}},
	{"Nats-Pin-Id": {"abc"}},
	{"Nats-Pending-Messages": {"0"}, "Nats-Pending-Bytes": {"0"}},
	{"Nats-Last-Consumer": {"99"}, "Nats-Last-Stream": {"99"}},
	{"Nats-Consumer-Stalled": {"sluice.v1.api.unsubscribe.all"}},
	{"Nats-Sequence": {"99"}, "Nats-Stream": {"OTHER"}, "Nats-Subject": {"other"}, "Nats-Time-Stamp": {"never"}, "Nats-Num-Pending": {"0"}},
	{"Nats-Marker-Reason": {"MaxAge"}},
	{"KV-Operation": {"PURGE"}},
	{"Nats-Service-Error": {"no"}, "Nats-Service-Error-Code": {"500"}},
	{"Nats-Request-Info": {`{"acc":"other"}`}},
}

const headersStore = "ORDERS"

// headersBed is an installation, and what was stored in its store.
type headersBed struct {
	*harness.Env
	all, good []uint64
}

// store stores each header with a body and without, and a good event after each.
func (b *headersBed) store() {
	for _, body := range []string{"", "body"} {
		for i := range protocolHeaders {
			h := nats.Header{"x-case": {fmt.Sprint(i)}}
			for name, values := range protocolHeaders[i] {
				h[name] = values
			}
			seqs := b.PublishAll([]*nats.Msg{
				{Subject: "orders.hostile", Header: h, Data: []byte(body)},
				{Subject: "orders.good", Data: []byte("good")},
			})
			b.all, b.good = append(b.all, seqs...), append(b.good, seqs[1])
		}
	}
}

// headersSpec is one lane of everything, from the beginning.
func headersSpec(subject string, byStream ...string) client.Spec {
	return client.Spec{
		Store: headersStore, Selector: client.Selector{ByStream: byStream}, Start: client.FromAll(),
		OrderBy: client.OrderByToken(1), Deliver: client.Deliver{Subject: subject},
		Retry:   client.Retry{MaxAttempts: new(1), MinBackoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond},
		Breaker: client.Breaker{Failures: 100_000},
	}
}

// TestHeaders_OfAnEventSteerNobody has every such event read from a backlog and
// as it comes, fetched again after its lane was blocked, parked, and delivered.
func TestHeaders_OfAnEventSteerNobody(t *testing.T) {
	t.Parallel()
	b := &headersBed{Env: harness.New(t)}
	b.Store(headersStore, "orders.>")
	b.StartAll()
	var consumers atomic.Int64
	count := func(*nats.Msg) { consumers.Add(1) }
	if _, err := b.NC.Subscribe("$JS.API.CONSUMER.CREATE."+headersStore+".>", count); err != nil {
		t.Fatal(err)
	}
	b.store()

	everything := b.Record("to.everything", harness.Ack)
	neighbour := b.Record("to.neighbour", harness.Ack)
	b.Subscribe("everything", headersSpec("to.everything", "$all"))
	b.Subscribe("neighbour", headersSpec("to.neighbour", "orders.good"))
	parks := b.Record("to.parks", func(_ harness.Delivery, say func(string)) { say("-NAK") })
	b.Subscribe("parks", headersSpec("to.parks", "$all"))
	blocked := b.Record("to.blocked", func(_ harness.Delivery, say func(string)) { say("-NAK") })
	blocks := headersSpec("to.blocked", "$all")
	blocks.OnExhausted = wire.ExhaustedBlock
	b.Subscribe("blocked", blocks)

	everything.AwaitAll(b.all)
	b.store()
	everything.AwaitAll(b.all)
	neighbour.AwaitAll(b.good)
	parks.AwaitAll(b.all)
	b.AwaitFloor("parks", b.all[len(b.all)-1])
	b.AwaitPool("blocked", "blocked", func(p *wire.Pool) error {
		if p.State != wire.PoolBlocked {
			return fmt.Errorf("its state is %s", p.State)
		}
		return nil
	})
	blocked.Behave(harness.Ack) // what was let go is fetched
	blocked.AwaitAll(b.all)

	for name, r := range map[string]*harness.Recorder{"everything": everything, "blocked": blocked} {
		r.RequireSet(name, b.all)
		r.RequireOrder(name, func(harness.Delivery) string { return "" })
	}
	neighbour.RequireExactly("neighbour", b.good)
	for _, d := range everything.First() {
		if hostile := d.Subject == "orders.hostile"; hostile == (d.Header.Get("x-case") == "") {
			t.Errorf("delivery %d of %s has the case %q", d.Sequence, d.Subject, d.Header.Get("x-case"))
		}
		for name := range d.Header {
			if strings.HasPrefix(name, "Nats-") || name == "Status" || name == "Description" {
				t.Errorf("delivery %d has the header %s", d.Sequence, name)
			}
		}
	}
	info, err := b.JS.Stream(b.Context(), wire.DefaultNamespace.StreamParked())
	if err != nil {
		t.Fatal(err)
	}
	if n := info.CachedInfo().State.Msgs; n != uint64(len(b.all)) {
		t.Errorf("%d events are parked, want %d", n, len(b.all))
	}
	if n := consumers.Load(); n > 40 {
		t.Errorf("%d consumers were asked for, for %d events", n, len(b.all))
	}
}

// TestHeaders_OfAnEntrySteerNobody has an entry with each of these headers, with
// a value and without, in each of Sluice's own buckets, before its services
// start and while they run.
func TestHeaders_OfAnEntrySteerNobody(t *testing.T) {
	t.Parallel()
	b := &headersBed{Env: harness.New(t)}
	b.Store(headersStore, "orders.>")
	ns := wire.DefaultNamespace
	buckets := []string{ns.BucketSubscriptions(), ns.BucketPools(), ns.BucketSessions(), ns.BucketHealth(), ns.BucketReplays()}
	entries := func(when string) {
		for _, bucket := range buckets {
			for i, h := range protocolHeaders {
				for _, value := range []string{"", "{}"} {
					key := fmt.Sprintf("$KV.%s.%s-%d-%d", bucket, when, i, len(value))
					b.PublishAll([]*nats.Msg{{Subject: key, Header: h, Data: []byte(value)}})
				}
			}
		}
	}
	layout := bus.Layout{Namespace: ns, SessionTTL: 5 * time.Second}
	if _, err := bus.Ensure(b.Context(), b.JS, layout, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	entries("before")
	b.StartAll()
	for _, name := range []string{"one", "two"} {
		r := b.Record("to."+name, harness.Ack)
		b.Subscribe(name, headersSpec("to."+name, "$all"))
		b.store()
		r.AwaitAll(b.all)
		b.Await("a sweep", func() error { _, err := report(b.Env); return err })
		entries("meanwhile-" + name)
	}
}
