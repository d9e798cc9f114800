package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// kind is a kind of selector: the one of group g, and which events it wants.
type kind struct {
	name     string
	selector func(g int) client.Selector
	wants    func(g int, e event) bool
}

func ofGroup(g int, e event) bool { return e.group == g }

// kinds are those that the steady subscriptions take in turn.
func kinds() []kind {
	filter := func(format string) func(int) client.Selector {
		return func(g int) client.Selector { return client.Selector{ByStream: []string{fmt.Sprintf(format, g)}} }
	}
	return []kind{
		{"a group", filter("soak.g%d.>"), ofGroup},
		{"a type of a group", filter("soak.g%d.*.opened"), func(g int, e event) bool { return e.group == g && e.kind == "opened" }},
		{"two groups and a type", func(g int) client.Selector {
			return client.Selector{
				ByStream:    []string{fmt.Sprintf("soak.g%d.>", g), fmt.Sprintf("soak.g%d.>", (g+1)%groups)},
				ByEventType: []string{"closed"},
			}
		}, func(g int, e event) bool { return (e.group == g || e.group == (g+1)%groups) && e.kind == "closed" }},
		{"a header", func(g int) client.Selector {
			return client.Selector{ByEventPattern: map[string]any{"headers": map[string]any{groupHead: []string{"g" + strconv.Itoa(g)}}}}
		}, ofGroup},
		{"a range of numbers", func(g int) client.Selector {
			least := g * 1000 / groups
			return client.Selector{ByEventPayload: map[string]any{"amount": []any{map[string]any{"numeric": []any{">=", least, "<", least + 1000/groups}}}}}
		}, func(g int, e event) bool { return e.amount*groups/1000 == g }},
		{"a prefix", func(g int) client.Selector {
			return client.Selector{ByEventPayload: map[string]any{"who": map[string]any{"login": []any{map[string]any{"prefix": fmt.Sprintf("u%d-", g)}}}}}
		}, ofGroup},
		{"all of one group, else one key", func(g int) client.Selector {
			if g == 0 {
				return client.Selector{ByStream: []string{wire.AllStreams}}
			}
			return client.Selector{ByStream: []string{fmt.Sprintf("soak.g%d.k%d.*", g, g)}}
		}, func(g int, e event) bool { return g == 0 || e.key == g }},
		{"one or another", func(g int) client.Selector {
			return client.Selector{
				ByStream: []string{fmt.Sprintf("soak.g%d.>", g)},
				ByEventPattern: map[string]any{"$or": []any{
					map[string]any{"type": []string{"moved"}},
					map[string]any{"data": map[string]any{"amount": []any{map[string]any{"numeric": []any{"<", 500}}}}},
				}},
			}
		}, func(g int, e event) bool { return e.group == g && (e.kind == "moved" || e.amount < 500) }},
	}
}

// The manners of subscribers, in tenths of them.
const (
	mannerNaks     = 1  // every twentieth delivery
	mannerForgets  = 2  // to answer every hundredth
	mannerVanishes = 3  // for some seconds, now and then
	mannerSlow     = 4  // takes 20 ms
	manners        = 10 // the others answer at once
)

// subscription is a steady subscription and its subscriber, which keeps account
// of what it got.
type subscription struct {
	name   string
	kind   kind
	group  int
	manner int

	mu         sync.Mutex
	nats       *nats.Subscription
	got        map[uint64]struct{} // sequences
	last       map[int]uint64      // of first deliveries, by key
	deliveries int
	faults     []string
}

func newSubscription(i int) *subscription {
	ks := kinds()
	return &subscription{
		name: "steady-" + strconv.Itoa(i), kind: ks[i%len(ks)], group: i / len(ks) % groups, manner: i % manners,
		got: map[uint64]struct{}{}, last: map[int]uint64{},
	}
}

func (s *subscription) target() string { return "soakout." + s.name }

func (s *subscription) spec() client.Spec {
	return client.Spec{
		Store: store, Start: client.FromAll(), Selector: s.kind.selector(s.group),
		Deliver: client.Deliver{Subject: s.target()}, AckWait: 2 * time.Second,
		Retry: client.Retry{MinBackoff: 100 * time.Millisecond},
	}
}

// listen makes the subscriber take deliveries, until silence.
func (s *subscription) listen(nc *nats.Conn) error {
	sub, err := nc.Subscribe(s.target(), s.take)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.nats = sub
	s.mu.Unlock()
	return sub.SetPendingLimits(-1, -1)
}

func (s *subscription) silence() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nats.Unsubscribe()
}

func (s *subscription) take(m *nats.Msg) {
	answer := []byte("+ACK")
	switch s.manner {
	case mannerNaks:
		if rand.IntN(20) == 0 {
			answer = []byte("-NAK")
		}
	case mannerForgets:
		if rand.IntN(100) == 0 {
			answer = nil
		}
	case mannerSlow:
		<-time.After(20 * time.Millisecond)
	}
	if err := s.count(m, string(answer) == "+ACK"); err != nil {
		s.fault(err.Error())
	}
	if answer != nil {
		if err := m.Respond(answer); err != nil {
			s.fault("answer: " + err.Error())
		}
	}
}

// count notes a delivery. One that is not acked comes again, and is not got.
func (s *subscription) count(m *nats.Msg, acked bool) error {
	seq, err := strconv.ParseUint(m.Header.Get(wire.HeaderSequence), 10, 64)
	if err != nil || seq == 0 {
		return fmt.Errorf("a delivery with the sequence %q", m.Header.Get(wire.HeaderSequence))
	}
	e := eventOf(int(seq) - 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliveries++
	if !s.kind.wants(s.group, e) {
		return fmt.Errorf("got %d, which it does not want", seq)
	}
	if _, again := s.got[seq]; again {
		return nil
	}
	if last := s.last[e.key]; seq < last {
		return fmt.Errorf("got %d of key %d for the first time after %d", seq, e.key, last)
	}
	if acked {
		s.got[seq] = struct{}{}
		s.last[e.key] = seq
	}
	return nil
}

func (s *subscription) fault(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) < 10 {
		s.faults = append(s.faults, what)
	}
}

// missing is how many of n events it wants and has not got.
func (s *subscription) missing(n int) (missing, wanted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range n {
		if e := eventOf(i); s.kind.wants(s.group, e) {
			wanted++
			if _, ok := s.got[uint64(i)+1]; !ok {
				missing++
			}
		}
	}
	return missing, wanted
}
