package pool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/checkpoint"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
	"github.com/sluicehq/sluice/services/emitter/internal/timers"
)

// world is what a pool's surroundings know of it, by the contract alone.
type world struct {
	*bed
	t       *rapid.T
	spec    wire.Spec
	last    uint64            // read by the pool
	key     map[uint64]string // of each event offered
	settled map[uint64]bool   // finished, parked or gone
	gone    map[uint64]bool   // deleted from the store before they could be delivered
	doomed  map[uint64]bool   // offered only to be parked
	given   map[uint64]bool   // given up, and there was no room to park them
	attempt map[uint64]int    // deliveries that were not taken back
	spent   map[uint64]int    // of these, those that were no probe of the breaker
	out     map[uint64]*delivered
	all     []sent // every delivery that reached the connection
	broken  string // the first promise that was broken while something was sent
}

// delivered is a delivery that waits for an answer.
type delivered struct {
	sent
	due   time.Time
	probe bool
}

func (w *world) fault(format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...)
	}
}

// saw judges a delivery when it is sent.
func (w *world) saw(d sent) {
	_, known := w.key[d.seq]
	switch {
	case !known:
		w.fault("event %d was never offered", d.seq)
	case w.doomed[d.seq]:
		w.fault("event %d is sent, but it was offered to be parked", d.seq)
	case w.settled[d.seq]:
		w.fault("event %d is sent, but it is settled", d.seq)
	case w.given[d.seq]:
		w.fault("event %d is sent, but it is given up", d.seq)
	case w.out[d.seq] != nil && d.at.Before(w.out[d.seq].due):
		w.fault("event %d is sent twice at once", d.seq)
	case d.attempt != w.attempt[d.seq]+1:
		w.fault("event %d is sent as attempt %d after %d that count", d.seq, d.attempt, w.attempt[d.seq])
	}
	w.inOrder(d.seq)
	if m := w.spec.Retry.MaxAttempts; m > 0 && w.spent[d.seq] >= m && w.spec.OnExhausted == wire.ExhaustedPark {
		w.fault("event %d is sent after %d attempts of %d", d.seq, w.spent[d.seq], m)
	}
	probe := w.Status().Breaker == "half-open"
	if !probe {
		w.spent[d.seq]++
	}
	w.attempt[d.seq] = d.attempt
	w.out[d.seq] = &delivered{d, d.at.Add(w.spec.AckWait.Std()), probe}
	w.all = append(w.all, d)
}

// inOrder requires that all earlier events of a key are settled.
func (w *world) inOrder(seq uint64) {
	if w.spec.OrderBy.Kind == wire.OrderNone {
		return
	}
	for earlier, k := range w.key {
		if k == w.key[seq] && earlier < seq && !w.settled[earlier] {
			w.fault("event %d had its turn before %d of the same key was settled", seq, earlier)
		}
	}
}

func (w *world) offer(t *rapid.T) {
	for range rapid.IntRange(1, 4).Draw(t, "n") {
		w.last += rapid.Uint64Range(1, 3).Draw(t, "step") // some do not match
		k := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
		w.key[w.last] = k
		offer := w.Offer
		if w.doomed[w.last] = rapid.IntRange(0, 5).Draw(t, "doomed") == 0; w.doomed[w.last] {
			offer = w.OfferToPark
		}
		if !offer(makeEvent(w.last, k+".x", nil, 10)) {
			t.Fatalf("no room for event %d", w.last)
		}
		w.position.Store(w.last)
	}
	if rapid.Bool().Draw(t, "more") {
		w.last++
		w.position.Store(w.last) // one more that does not match
	}
	w.Flush()
}

// reply answers any delivery ever made, with anything.
func (w *world) reply(t *rapid.T) {
	if len(w.all) == 0 {
		return
	}
	from := max(0, len(w.all)-rapid.SampledFrom([]int{1, 4, 4, 1000}).Draw(t, "age"))
	d := w.all[rapid.IntRange(from, len(w.all)-1).Draw(t, "delivery")]
	w.say(d, rapid.SampledFrom([]string{"", "+ACK", "done", "+WPI", "-NAK", "-NAK", `-NAK {"delay": 700000000}`, "+TERM bad", "nobody"}).Draw(t, "answer"))
}

func (w *world) say(d sent, text string) {
	o := w.out[d.seq]
	current := o != nil && o.token == d.token && time.Now().Before(o.due)
	was := w.settled[d.seq]
	switch {
	case text == "nobody":
		if current {
			delete(w.out, d.seq)
			w.attempt[d.seq]--
			if !o.probe {
				w.spent[d.seq]--
			}
		}
		w.nobody(d)
	case text == "+WPI":
		if current {
			o.due = time.Now().Add(w.spec.AckWait.Std())
		}
		w.answer(d, text)
	case strings.HasPrefix(text, "-NAK"):
		if current {
			delete(w.out, d.seq)
		}
		w.answer(d, text)
	case strings.HasPrefix(text, "+TERM"):
		delete(w.out, d.seq)
		w.answer(d, text)
	default:
		parking := w.parking(d.seq)
		if !parking {
			delete(w.out, d.seq)
			w.settled[d.seq] = true // now, since the answer makes the next one go
		}
		if got := w.answer(d, text); got == parking {
			w.t.Fatalf("an ack of event %d settled it: %v, but it is being parked: %v (settled before: %v)", d.seq, got, parking, was)
		}
	}
}

// parking reports whether the parker has an event that it has not stored.
func (w *world) parking(seq uint64) bool {
	return w.handed(seq) && !w.settled[seq]
}

func (w *world) handed(seq uint64) bool {
	for _, p := range w.park.got {
		if p.Event.Sequence == seq {
			return true
		}
	}
	return false
}

func (w *world) pass(t *rapid.T) {
	w.wait(time.Duration(rapid.SampledFrom([]int{1, 50, 250, 500, 1000, 2500, 10000}).Draw(t, "ms")) * time.Millisecond)
}

// wait lets time pass. The locks tell the race detector that what the test did
// until now comes before what the timers' goroutine does then.
func (w *world) wait(d time.Duration) {
	w.pub.failWith(w.pub.fail)
	w.park.refuses(w.park.refuse)
	w.fetch.asked()
	after(d)
}

func (w *world) connection(t *rapid.T) {
	var f func(uint64) error
	switch rapid.IntRange(0, 3).Draw(t, "connection") {
	case 0:
		f = func(uint64) error { return nats.ErrConnectionClosed }
	case 1:
		f = func(seq uint64) error {
			if seq%5 == 0 {
				return nats.ErrMaxPayload
			}
			return nil
		}
	case 2:
		f = func(seq uint64) error {
			if seq%3 == 0 {
				return nats.ErrReconnectBufExceeded
			}
			return nil
		}
	}
	w.pub.failWith(f)
}

// lost loses the connection with all that waits for an answer.
func (w *world) lost(*rapid.T) {
	for seq, o := range w.out {
		if time.Now().Before(o.due) && !w.handed(seq) {
			delete(w.out, seq)
			if !o.probe {
				w.spent[seq]--
			}
		}
	}
	w.ConnectionLost()
}

// fetcher makes the store answer in another way from now on.
func (w *world) fetcher(t *rapid.T) {
	how := rapid.SampledFrom([]string{"at once", "later", "later", "not at all", "with an error"}).Draw(t, "store answers")
	w.fetch.set(func(f *fetcher) {
		f.hold, f.refuse, f.fail = how == "later", how == "not at all", nil
		if how == "with an error" {
			f.fail = errors.New("no leader")
		}
	})
}

// asker makes the servers tell otherwise who listens. That somebody does they
// never say of what is answered with "no responders".
func (w *world) asker(t *rapid.T) {
	w.ask.mu.Lock()
	defer w.ask.mu.Unlock()
	w.ask.who = rapid.SampledFrom([]pool.Who{pool.Unknown, pool.Nobody}).Draw(t, "who listens")
	w.ask.refuse = rapid.IntRange(0, 3).Draw(t, "full") == 0
}

// lose deletes an event from the store. The pool may have it still.
func (w *world) lose(t *rapid.T) {
	if w.last == 0 {
		return
	}
	seq := rapid.Uint64Range(1, w.last).Draw(t, "seq")
	w.fetch.set(func(f *fetcher) { delete(f.stored, seq) })
}

// told takes notice of an event that the pool gives up because it is gone.
func (w *world) told(what string, data map[string]any) {
	if what != wire.AdvEventLost {
		return
	}
	seq := data["sequence"].(uint64)
	w.fetch.set(func(f *fetcher) {
		if f.stored[seq] != nil || w.settled[seq] {
			w.fault("event %d is given up, but it is in the store, or settled", seq)
		}
	})
	delete(w.out, seq)
	w.settled[seq], w.gone[seq] = true, true
}

func (w *world) parked(*rapid.T) {
	for _, p := range w.park.got {
		seq := p.Event.Sequence
		if w.doomed[seq] {
			w.inOrder(seq)
		}
		delete(w.out, seq)
		w.settled[seq] = true
	}
	w.park.store()
}

// noRoom has nothing of what was handed over stored.
func (w *world) noRoom(*rapid.T) {
	p := w.park
	p.mu.Lock()
	stored := len(p.got) - len(p.done)
	for _, e := range p.got[stored:] {
		delete(w.out, e.Event.Sequence)
		w.given[e.Event.Sequence] = true
	}
	p.got = p.got[:stored]
	p.mu.Unlock()
	p.answer(errNoRoom)
}

func (w *world) check(t *rapid.T) {
	synctest.Wait()
	if w.broken != "" {
		t.Fatal(w.broken)
	}
	for _, p := range w.park.got {
		if n := w.spent[p.Event.Sequence]; n < w.spec.Retry.MaxAttempts && strings.Contains(p.Reason, ", attempt ") {
			t.Fatalf("event %d is parked as %q, but spent %d attempts", p.Event.Sequence, p.Reason, n)
		}
	}
	cp := w.Checkpoint()
	again := checkpoint.Restore(cp)
	for seq := uint64(1); seq <= w.last; seq++ {
		_, matched := w.key[seq]
		if want := !matched || w.settled[seq]; again.Finished(seq, seq) != want {
			t.Fatalf("checkpoint %v has event %d finished: %v, want %v", cp, seq, !want, want)
		}
	}
	st, flying := w.Status(), 0
	for seq, o := range w.out {
		if time.Now().Before(o.due) && !w.handed(seq) {
			flying++
		}
	}
	open := 0
	for seq := range w.key {
		if !w.settled[seq] {
			open++
		}
	}
	if st.InFlight != flying || st.Pending != open {
		t.Fatalf("in flight %d, want %d; pending %d, want %d", st.InFlight, flying, st.Pending, open)
	}
	if st.InFlight > w.spec.PoolSize.Max || st.Limit < w.spec.PoolSize.Min || st.Limit > w.spec.PoolSize.Max {
		t.Fatalf("in flight %d, limit %d", st.InFlight, st.Limit)
	}
	if (open == 0) != (w.budget.Used() == 0) {
		t.Fatalf("%d events open, %d bytes held", open, w.budget.Used())
	}
}

// heal makes everything work again, after which everything must get done.
func (w *world) heal() {
	w.pub.failWith(nil)
	w.park.refuses(false)
	w.fetch.set(func(f *fetcher) { f.hold, f.refuse, f.fail = false, false, nil })
	w.ask.now(pool.Unknown)
	for range 1000 {
		w.fetch.answer()
		w.parked(w.t)
		for i := 0; i < len(w.all); i++ { // it grows meanwhile
			d := w.all[i]
			if o := w.out[d.seq]; o != nil && o.token == d.token && !w.settled[d.seq] && !w.handed(d.seq) {
				w.say(d, "")
			}
		}
		w.check(w.t)
		if w.Status().Pending == 0 {
			w.wantDone()
			return
		}
		w.wait(300 * time.Millisecond)
	}
	w.t.Fatalf("a healthy subscriber for five minutes, and yet: %+v", w.Status())
}

func (w *world) wantDone() {
	if cp := w.Checkpoint(); cp.Floor != w.last || len(cp.Ranges) > 0 {
		w.t.Fatalf("all is settled up to %d, but the checkpoint is %v", w.last, cp)
	}
	if held := w.Held(); held != "" {
		w.t.Fatalf("all is settled, but the pool holds %s", held)
	}
	seen := map[uint64]bool{}
	for _, d := range w.all {
		seen[d.seq] = true
	}
	for seq := range w.key {
		if !seen[seq] && !w.handed(seq) && !w.gone[seq] {
			w.t.Fatalf("event %d was neither delivered nor parked, nor is it gone", seq)
		}
	}
}

func drawSpec(t *rapid.T) wire.Spec {
	s := spec()
	s.AckWait = wire.Duration(time.Second)
	s.Retry = wire.Retry{
		MaxAttempts: rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "max_attempts"),
		MinBackoff:  wire.Duration(100 * time.Millisecond), MaxBackoff: wire.Duration(2 * time.Second),
	}
	s.OnExhausted = rapid.SampledFrom([]string{wire.ExhaustedPark, wire.ExhaustedBlock}).Draw(t, "on_exhausted")
	s.OrderBy.Kind = rapid.SampledFrom([]wire.OrderKind{wire.OrderStream, wire.OrderSubject, wire.OrderNone}).Draw(t, "order_by")
	lo := rapid.IntRange(1, 3).Draw(t, "min")
	s.PoolSize = wire.PoolSize{Min: lo, Max: lo + rapid.IntRange(0, 5).Draw(t, "more")}
	s.Breaker = wire.Breaker{Failures: rapid.SampledFrom([]int{1, 3, 1000}).Draw(t, "failures"), OpenFor: wire.Duration(3 * time.Second)}
	return s
}

// TestEveryEventIsDeliveredInOrderOrParkedWhateverHappens plays subscribers
// that answer anything at any time or are away, a connection that fails, a
// parker that is slow or full and a store that loses events, and holds the pool
// against the contract.
func TestEveryEventIsDeliveredInOrderOrParkedWhateverHappens(t *testing.T) {
	play(t, drawSpec)
}

func TestBlockedLanesKeepEveryPromiseToo(t *testing.T) {
	play(t, func(t *rapid.T) wire.Spec {
		s := drawSpec(t)
		s.OnExhausted, s.Retry.MaxAttempts, s.Breaker.Failures = wire.ExhaustedBlock, 1, 1000
		return s
	})
}

func play(t *testing.T, draw func(*rapid.T) wire.Spec) {
	t.Helper()
	clocktest.Run(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { // without Deadline, which a bubble forbids
			tm := timers.New()
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- tm.Run(ctx) }()
			defer func() {
				cancel()
				<-done //nolint:errcheck // only that it came matters
			}()
			w := &world{
				t: t, spec: draw(t), key: map[uint64]string{}, settled: map[uint64]bool{}, doomed: map[uint64]bool{},
				attempt: map[uint64]int{}, spent: map[uint64]int{}, gone: map[uint64]bool{}, given: map[uint64]bool{}, out: map[uint64]*delivered{},
			}
			w.bed = newBed(t, tm, config{spec: w.spec})
			defer w.Close()
			w.pub.saw, w.notify = w.saw, w.told
			t.Repeat(map[string]func(*rapid.T){
				"offer": w.offer, "reply": w.reply, "reply again": w.reply, "pass": w.pass,
				"connection": w.connection, "store parked": w.parked, "no room to park": w.noRoom,
				"connection lost": w.lost, "connection back": func(*rapid.T) { w.ConnectionBack() },
				"parker":  func(t *rapid.T) { w.park.refuses(rapid.Bool().Draw(t, "refuses")) },
				"fetcher": w.fetcher, "fetched": func(*rapid.T) { w.fetch.answer() }, "lose": w.lose, "asker": w.asker,
				"tick":    func(*rapid.T) { w.Tick(time.Now()) },
				"no room": func(*rapid.T) { w.Relieve() },
				"":        w.check,
			})
			w.heal()
		})
	})
}
