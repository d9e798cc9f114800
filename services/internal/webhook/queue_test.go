package webhook

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
)

func itoa(n int) string { return strconv.Itoa(n) }

func proxyTo(t *testing.T, to string) func(*http.Request) (*url.URL, error) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return http.ProxyURL(u)
}

// gate is a handler whose requests wait until they are let go.
type gate struct {
	open       chan struct{}
	now, most  atomic.Int32
	byPath     sync.Map // of *atomic.Int32: requests by path
	pathToHold string   // "": all
}

func newGate(hold string) *gate { return &gate{open: make(chan struct{}), pathToHold: hold} }

func (g *gate) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that a client goes
	n := g.now.Add(1)
	defer g.now.Add(-1)
	for {
		most := g.most.Load()
		if n <= most || g.most.CompareAndSwap(most, n) {
			break
		}
	}
	count, _ := g.byPath.LoadOrStore(r.URL.Path, &atomic.Int32{})
	count.(*atomic.Int32).Add(1)
	if g.pathToHold == "" || g.pathToHold == r.URL.Path {
		select {
		case <-g.open:
		case <-r.Context().Done():
		}
	}
}

func (g *gate) requests(path string) int {
	count, ok := g.byPath.Load(path)
	if !ok {
		return 0
	}
	return int(count.(*atomic.Int32).Load())
}

// send has n events delivered, and returns how many have been answered.
func (b *bed) send(to *Target, n int) *atomic.Int32 {
	b.Helper()
	var answered atomic.Int32
	for range n {
		if err := to.Send(pool.Sent{Event: plain(), Attempt: 1, Answer: func(wire.Answer) { answered.Add(1) }}); err != nil {
			b.Fatal(err)
		}
	}
	return &answered
}

func TestRequestsToAHostAreBoundedOverAllTargets(t *testing.T) {
	t.Parallel()
	g := newGate("")
	srv := serve(t, g.ServeHTTP)
	other := serve(t, func(http.ResponseWriter, *http.Request) {})
	b := start(t, Config{PerHost: 3})
	one, two := b.target(srv.URL+"/one"), b.target(srv.URL+"/two")
	first, second := b.send(one, 5), b.send(two, 5)
	eventually(t, "all slots are used", func() bool { return g.now.Load() == 3 })
	if a := b.outcome(b.target(other.URL), plain()); a.Kind != wire.AnswerAck {
		t.Errorf("another host: %+v", a)
	}
	close(g.open)
	eventually(t, "all are answered", func() bool { return first.Load() == 5 && second.Load() == 5 })
	if n := g.most.Load(); n != 3 {
		t.Errorf("%d requests at once, want 3", n)
	}
	eventually(t, "nothing is left", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.hosts) == 0 && one.out == 0 && one.queue == nil
	})
}

func TestASlowTargetKeepsNoOtherOfItsHostOut(t *testing.T) {
	t.Parallel()
	g := newGate("/slow")
	srv := serve(t, g.ServeHTTP)
	b := start(t, Config{PerHost: 4})
	slow := b.target(srv.URL+"/slow", within(500*time.Millisecond))
	b.send(slow, 1000)
	eventually(t, "the slow one has all slots", func() bool { return g.requests("/slow") == 4 })
	fast := b.send(b.target(srv.URL+"/fast"), 200)
	eventually(t, "the fast one has what it wants", func() bool { return fast.Load() == 200 })
	if n := g.requests("/slow"); n > 40 {
		t.Errorf("%d requests of the slow one meanwhile", n)
	}
	slow.Close()
	close(g.open)
}

func TestACloseCutsOffWhatIsOutAndDropsWhatWaits(t *testing.T) {
	t.Parallel()
	g := newGate("")
	srv := serve(t, g.ServeHTTP)
	b := start(t, Config{PerHost: 2})
	to := b.target(srv.URL + "/x")
	answered := b.send(to, 10)
	eventually(t, "both slots are used", func() bool { return g.now.Load() == 2 })
	to.Close()
	eventually(t, "both are cut off", func() bool { return g.now.Load() == 0 && b.slots() == 0 })
	if g.requests("/x") != 2 || answered.Load() != 0 {
		t.Errorf("%d requests, %d answers", g.requests("/x"), answered.Load())
	}
	if err := to.Send(pool.Sent{Event: plain()}); err != ErrClosed { //nolint:errorlint // it is this very one
		t.Error(err)
	}
}

func TestTheEndOfTheSenderCutsOffWhatIsOut(t *testing.T) {
	t.Parallel()
	g := newGate("")
	srv := serve(t, g.ServeHTTP)
	var answered *atomic.Int32
	t.Run("sender", func(t *testing.T) {
		b := start(t, Config{PerHost: 2})
		answered = b.send(b.target(srv.URL+"/x"), 10)
		eventually(t, "both slots are used", func() bool { return g.now.Load() == 2 })
	})
	eventually(t, "both are cut off", func() bool { return g.now.Load() == 0 })
	if g.requests("/x") != 2 || answered.Load() != 0 {
		t.Errorf("%d requests, %d answers", g.requests("/x"), answered.Load())
	}
}

// What waits for a slot is not sent once the pool has given it up, and asks for
// more time if the pool would do so before its request is over. A worker is played
// by the test.
func TestWhatWaitsForASlotKnowsWhenThePoolGivesItUp(t *testing.T) {
	clocktest.Run(t, func(t *testing.T) {
		s, err := New(Config{PerHost: 1, Allow: []string{"127.0.0.0/8"}}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		s.client.Transport = canned(204)
		to, err := s.Target(Destination{Name: "hook", AckWait: 30 * time.Second, HTTP: &wire.HTTP{
			URL: "http://127.0.0.1:1", Method: "POST", Timeout: wire.Duration(10 * time.Second),
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		var log []string
		for i, wait := range []time.Duration{0, 5 * time.Second, 10 * time.Second, 15 * time.Second} {
			d := pool.Sent{Event: plain(), Attempt: i, Answer: func(a wire.Answer) { log = append(log, fmt.Sprint(i, kind(a))) }}
			_ = to.Send(d)
			time.Sleep(wait) //nolint:forbidigo // of the fake clock
		}
		// 30 s, 30 s, 25 s and 15 s have passed: the last asks for no more time.
		h := s.hosts[to.host]
		for {
			target, j := s.next(h)
			if target == nil {
				break
			}
			target.deliver(t.Context(), j)
			s.done(target)
		}
		if got := strings.Join(log, " "); got != "2WPI 2ACK 3ACK" {
			t.Errorf("%s", got)
		}
	})
}

func TestAQueueHoldsNothingThatThePoolHasGivenUp(t *testing.T) {
	clocktest.Run(t, func(t *testing.T) {
		s, err := New(Config{PerHost: 1}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		to, err := s.Target(Destination{AckWait: time.Second, HTTP: &wire.HTTP{URL: "http://h"}})
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		for range 50 {
			for range 3 {
				_ = to.Send(pool.Sent{Event: plain()})
			}
			time.Sleep(time.Second) //nolint:forbidigo // of the fake clock
		}
		if n := len(to.queue); n != 3 {
			t.Errorf("%d deliveries wait", n)
		}
	})
}
