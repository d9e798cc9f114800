package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestADeliveryIsTheEventWithTheHeadersOfTheContract(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r := e.RecordBodies("to.me", harness.Ack)
	body := []byte("\x00\xff not JSON, not UTF-8 \xfe\n")
	msg := &nats.Msg{Subject: "orders.eu.7", Data: body, Header: nats.Header{
		"ce-type": {"order.placed"}, "X-Region": {"eu", "de"}, "Nats-Msg-Id": {"once"}, "x-lower": {"kept"},
	}}
	seq := e.PublishAll([]*nats.Msg{msg})[0]
	e.Subscribe("mine", spec("to.me"))

	d := r.AwaitCount(1)[0]
	if !bytes.Equal(d.Data, body) {
		t.Errorf("the body is %q, want %q", d.Data, body)
	}
	pool := e.AwaitOwned("mine")
	s, err := e.JS.Stream(e.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := s.GetMsg(e.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"Sluice-Subscription": {"mine"}, "Sluice-Store": {store}, "Sluice-Sequence": {strconv.FormatUint(seq, 10)},
		"Sluice-Subject": {"orders.eu.7"}, "Sluice-Attempt": {"1"}, "Sluice-Epoch": {strconv.FormatUint(pool.Epoch, 10)},
		"Sluice-Replay": nil, "Nats-Msg-Id": nil,
		"ce-type": {"order.placed"}, "X-Region": {"eu", "de"}, "x-lower": {"kept"},
	} {
		if got := d.Header[name]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	at, err := time.Parse(time.RFC3339Nano, d.Header.Get("Sluice-Time"))
	if err != nil || !at.Equal(stored.Time) || at.Location() != time.UTC {
		t.Errorf("Sluice-Time is %q (%v), want %v", d.Header.Get("Sluice-Time"), err, stored.Time)
	}
	if !d.Answered {
		t.Error("the delivery has no reply subject")
	}
}

func TestEveryAnswerWordIsUnderstoodThroughTheClient(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var mu sync.Mutex
	attempts := map[string][]time.Time{}
	handle := func(ctx context.Context, d *client.Delivery) error {
		mu.Lock()
		attempts[d.Subject()] = append(attempts[d.Subject()], time.Now())
		mu.Unlock()
		again := d.Attempt() > 1
		switch d.Subject() {
		case "orders.fails.x":
			if !again {
				return errors.New("once")
			}
		case "orders.later.x":
			if !again {
				return client.RetryAfter(errors.New("in a moment"), 400*time.Millisecond)
			}
		case "orders.never.x":
			return client.Term(errors.New("no such customer"))
		case "orders.slow.x": // three times as long as ack_wait
			for range 30 {
				if err := d.InProgress(); err != nil {
					return err
				}
				select {
				case <-time.After(100 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	receiver, err := e.Client.NewReceiver("to.go", "workers", handle,
		client.WithConcurrency(8), client.WithOnError(func(*client.Delivery, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() {
		if err := receiver.Run(ctx); err != nil {
			t.Errorf("receive: %v", err)
		}
	})
	defer running.Wait()
	defer cancel()
	<-receiver.Ready()

	s := spec("to.go")
	s.AckWait = time.Second // a busy machine may keep a word of progress for a good part of that
	e.Subscribe("go", s)
	var last uint64
	for _, subject := range []string{"orders.fails.x", "orders.later.x", "orders.never.x", "orders.slow.x", "orders.plain.x"} {
		last = e.Publish(subject, "{}")
	}
	e.AwaitFloor("go", last)

	mu.Lock()
	defer mu.Unlock()
	for subject, want := range map[string]int{
		"orders.fails.x": 2, "orders.later.x": 2, "orders.never.x": 1, "orders.slow.x": 1, "orders.plain.x": 1,
	} {
		if got := len(attempts[subject]); got != want {
			t.Errorf("%s came %d times, want %d", subject, got, want)
		}
	}
	if at := attempts["orders.later.x"]; len(at) == 2 && at[1].Sub(at[0]) < 390*time.Millisecond {
		t.Errorf("the event that asked for a delay came again after %v", at[1].Sub(at[0]))
	}
	parked := e.Stored(wire.DefaultNamespace.StreamParked(), wire.DefaultNamespace.Parked("go"))
	if len(parked) != 1 || parked[0].Header.Get(wire.HeaderSubject) != "orders.never.x" {
		t.Fatalf("parked are %d events, want the one that was given up", len(parked))
	}
	if reason := parked[0].Header.Get(wire.HeaderParkReason); !bytes.Contains([]byte(reason), []byte("no such customer")) {
		t.Errorf("it is parked because of %q, want the subscriber's reason", reason)
	}
}

func TestAnyReplyIsAnAck(t *testing.T) {
	t.Parallel()
	e := setup(t)
	words := []string{"", "+ACK", "ok", "+OK fine", "{}"}
	r := e.Record("to.any", func(d harness.Delivery, say func(string)) { say(words[int(d.Sequence)%len(words)]) })
	e.PublishAll(orders(20, 20))
	e.Subscribe("any", spec("to.any"))
	e.AwaitFloor("any", 20)
	r.RequireExactly("any word", upTo(1, 20))
}

func TestAnExhaustedEventIsParkedWithItsHeadersAndItsLaneGoesOn(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r := e.Record("to.park", func(d harness.Delivery, say func(string)) {
		if d.Sequence == 1 {
			say("-NAK")
			return
		}
		say("+ACK")
	})
	e.Publish("orders.eu.1", `{"poison":true}`, "ce-type", "order.placed", "X-Own", "kept")
	e.Publish("orders.eu.1", `{}`, "ce-type", "order.placed") // of the same key
	s := spec("to.park")
	s.Retry.MaxAttempts = new(3)
	e.Subscribe("park", s)
	e.AwaitFloor("park", 2)

	var order []string
	for _, d := range r.Deliveries() {
		order = append(order, fmt.Sprintf("%d/%d", d.Sequence, d.Attempt))
	}
	if got := fmt.Sprint(order); got != "[1/1 1/2 1/3 2/1]" {
		t.Errorf("event/attempt were %s, want [1/1 1/2 1/3 2/1]", got)
	}
	parked := e.Stored(wire.DefaultNamespace.StreamParked(), wire.DefaultNamespace.Parked("park"))
	if len(parked) != 1 {
		t.Fatalf("%d events are parked, want 1", len(parked))
	}
	p := parked[0]
	if string(p.Data) != `{"poison":true}` {
		t.Errorf("the parked body is %q", p.Data)
	}
	for name, want := range map[string]string{
		"ce-type": "order.placed", "X-Own": "kept", "Sluice-Attempts": "3", "Sluice-Subscription": "park",
		"Sluice-Store": store, "Sluice-Sequence": "1", "Sluice-Subject": "orders.eu.1",
	} {
		if got := p.Header.Get(name); got != want {
			t.Errorf("parked header %s is %q, want %q", name, got, want)
		}
	}
	if p.Header.Get("Sluice-Park-Reason") == "" {
		t.Error("the parked event gives no reason")
	}
	if _, err := time.Parse(time.RFC3339Nano, p.Header.Get("Sluice-Parked-At")); err != nil {
		t.Errorf("Sluice-Parked-At: %v", err)
	}
	awaitAdvisory(t, e, wire.AdvEventParked, "park")
}

func TestOnExhaustedBlockHoldsTheLaneAndNoOther(t *testing.T) {
	t.Parallel()
	e := setup(t)
	stubborn := func(d harness.Delivery, say func(string)) {
		if d.Sequence == 1 {
			say("-NAK")
			return
		}
		say("+ACK")
	}
	r := e.Record("to.block", stubborn)
	e.PublishAll(orders(40, 4)) // 1, 5, 9, … are of one key
	s := spec("to.block")
	s.OnExhausted = wire.ExhaustedBlock
	s.Retry.MaxAttempts = new(2)
	s.Breaker.Failures = 1000
	e.Subscribe("block", s)
	var others []uint64
	for _, seq := range upTo(1, 40) {
		if seq%4 != 1 {
			others = append(others, seq)
		}
	}
	r.AwaitAll(append(others, 1))
	e.AwaitPool("block", "blocked", func(p *wire.Pool) error {
		if p.State != wire.PoolBlocked {
			return fmt.Errorf("its state is %s", p.State)
		}
		return nil
	})
	awaitAdvisory(t, e, wire.AdvPoolBlocked, "block")
	r.RequireSet("while the lane is blocked", append(others, 1))
	r.Await("attempts beyond the last one", func(ds []harness.Delivery) error {
		if last := ds[len(ds)-1]; last.Attempt < 4 {
			return fmt.Errorf("the last is attempt %d of %d", last.Attempt, last.Sequence)
		}
		return nil
	})

	r.Behave(harness.Ack)
	e.AwaitFloor("block", 40)
	r.RequireSet("when the event succeeded", upTo(1, 40))
	r.RequireOrder("when the event succeeded", harness.Delivery.Stream)
	if n := len(e.Stored(wire.DefaultNamespace.StreamParked(), wire.DefaultNamespace.Parked("block"))); n != 0 {
		t.Errorf("%d events are parked, want none", n)
	}
}

func TestAnOpenBreakerHoldsEventsAndLosesNone(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r := e.Record("to.breaker", func(_ harness.Delivery, say func(string)) { say("-NAK") })
	s := spec("to.breaker")
	s.Breaker = client.Breaker{Failures: 3, OpenFor: time.Second}
	s.PoolSize = client.PoolSize{Min: 4, Max: 4}
	s.Retry.MaxAttempts = new(20)
	e.Subscribe("breaker", s)
	e.PublishAll(orders(50, 50))
	awaitAdvisory(t, e, wire.AdvBreakerOpened, "breaker")
	e.AwaitPool("breaker", "its breaker open", func(p *wire.Pool) error {
		if p.State != wire.PoolBreakerOpen {
			return fmt.Errorf("its state is %s", p.State)
		}
		return nil
	})
	awaitAdvisory(t, e, wire.AdvBreakerHalfOpened, "breaker")
	failed := r.Count() // three or so to open it, and one for each probe
	r.Behave(harness.Ack)
	e.AwaitFloor("breaker", 50)
	awaitAdvisory(t, e, wire.AdvBreakerClosed, "breaker")
	r.RequireSet("after the breaker closed", upTo(1, 50))
	if failed > 20 {
		t.Errorf("%d deliveries failed although the breaker opens after 3 and 4 may be out", failed)
	}
	if n := len(e.Stored(wire.DefaultNamespace.StreamParked(), wire.DefaultNamespace.Parked("breaker"))); n != 0 {
		t.Errorf("%d events are parked, want none", n)
	}
}

func TestModePublishSendsOnceAndWaitsForNoAnswer(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r := e.Record("to.publish", harness.Silent)
	s := spec("to.publish")
	s.Deliver.Mode = wire.ModePublish
	e.PublishAll(orders(300, 7))
	e.Subscribe("publish", s)
	e.AwaitFloor("publish", 300)
	r.AwaitAll(upTo(1, 300))
	r.RequireExactly("mode publish", upTo(1, 300))
	r.RequireOrder("mode publish", harness.Delivery.Stream)
	for _, d := range r.Deliveries() {
		if d.Answered {
			t.Fatal("a delivery has a reply subject")
		}
	}
}

func TestEveryOrderByFormHoldsForSlowSubscribers(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const n = 240
	msgs := orders(n, 12)
	for i, msg := range msgs {
		msg.Subject = fmt.Sprintf("orders.eu.c%d.t%d", i%3, i%4) // 3 streams, 12 subjects
		msg.Header = nats.Header{"Tenant": {fmt.Sprint("tenant-", i%5)}}
	}
	e.PublishAll(msgs)
	for _, tt := range []struct {
		name  string
		order wire.OrderBy
		lanes int // how many deliveries may be out at once; with fewer there would be no concurrency
		key   func(harness.Delivery) string
	}{
		{"stream", wire.OrderBy{}, 3, harness.Delivery.Stream},
		{"subject", client.OrderBySubject(), 12, func(d harness.Delivery) string { return d.Subject }},
		{"token", client.OrderByToken(4), 4, func(d harness.Delivery) string { return d.Subject[len("orders.eu.c0."):] }},
		{"header", client.OrderByHeader("Tenant"), 5, func(d harness.Delivery) string { return d.Header.Get("Tenant") }},
		{"none", client.OrderByNone(), n, func(d harness.Delivery) string { return strconv.FormatUint(d.Sequence, 10) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			slow := &slowSubscriber{key: tt.key, out: map[string]int{}}
			defer slow.wait.Wait()
			r := e.Record("to.order."+tt.name, slow.take)
			s := spec("to.order." + tt.name)
			s.OrderBy = tt.order
			e.Subscribe(tt.name, s)
			r.AwaitAll(upTo(1, n))
			e.AwaitFloor(tt.name, n)
			r.RequireExactly(tt.name, upTo(1, n))
			r.RequireOrder(tt.name, tt.key)
			slow.mu.Lock()
			defer slow.mu.Unlock()
			if slow.overlaps > 0 {
				t.Errorf("%d events came while the one before of their key was out", slow.overlaps)
			}
			if slow.most < 2 || slow.most > tt.lanes {
				t.Errorf("at most %d deliveries were out at once, want 2 to %d", slow.most, tt.lanes)
			}
		})
	}
}

// slowSubscriber answers after a while, without holding up what comes next.
type slowSubscriber struct {
	key  func(harness.Delivery) string
	wait sync.WaitGroup

	mu             sync.Mutex
	out            map[string]int
	total          int
	most, overlaps int
}

func (s *slowSubscriber) take(d harness.Delivery, say func(string)) {
	k := s.key(d)
	s.mu.Lock()
	if s.out[k] > 0 {
		s.overlaps++
	}
	s.out[k]++
	s.total++
	s.most = max(s.most, s.total)
	s.mu.Unlock()
	s.wait.Add(1)
	time.AfterFunc(3*time.Millisecond, func() {
		defer s.wait.Done()
		s.mu.Lock()
		s.out[k]--
		s.total--
		s.mu.Unlock()
		say("+ACK")
	})
}

func TestAQueueGroupSharesTheEventsInOrder(t *testing.T) {
	t.Parallel()
	e := setup(t)
	rs := []*harness.Recorder{
		e.RecordQueue("to.group", "workers", harness.Ack), e.RecordQueue("to.group", "workers", harness.Ack),
		e.RecordQueue("to.group", "workers", harness.Ack),
	}
	e.PublishAll(orders(600, 5))
	e.Subscribe("group", spec("to.group"))
	e.AwaitFloor("group", 600)
	total := 0
	var all []harness.Delivery
	for i, r := range rs {
		if r.Count() == 0 {
			t.Errorf("subscriber %d got nothing", i)
		}
		total += r.Count()
		all = append(all, r.Deliveries()...)
	}
	if total != 600 {
		t.Errorf("%d deliveries, want 600", total)
	}
	harness.SortByArrival(all)
	if faults := harness.OutOfOrder(all, harness.Delivery.Stream); len(faults) > 0 {
		t.Errorf("out of order: %v", faults)
	}
}
