package core_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/checkpoint"
	"github.com/sluicehq/sluice/services/internal/pool/core"
)

// world is what a pool's surroundings know of it, by the contract alone.
type world struct {
	*sim
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

// judge judges a delivery when it is sent.
func (w *world) judge(d sent) {
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
	probe := w.status().Breaker == "half-open"
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

func (w *world) offerSome(t *rapid.T) {
	for range rapid.IntRange(1, 4).Draw(t, "n") {
		w.last += rapid.Uint64Range(1, 3).Draw(t, "step") // some do not match
		k := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
		w.key[w.last] = k
		parkFor := ""
		if w.doomed[w.last] = rapid.IntRange(0, 5).Draw(t, "doomed") == 0; w.doomed[w.last] {
			parkFor = wire.ParkedTooCostly
		}
		w.offer(w.last, k+".x", parkFor)
	}
	if rapid.Bool().Draw(t, "more") {
		w.last++
		w.ReadTo(w.last) // one more that does not match
	}
	w.step(func() {})
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
	current := o != nil && o.token == d.token && w.now.Before(o.due)
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
			o.due = w.now.Add(w.spec.AckWait.Std())
		}
		w.answer(d, text, nil)
	case strings.HasPrefix(text, "-NAK"):
		if current {
			delete(w.out, d.seq)
		}
		w.answer(d, text, nil)
	case strings.HasPrefix(text, "+TERM"):
		delete(w.out, d.seq)
		w.answer(d, text, nil)
	default:
		parking := w.parking(d.seq)
		if !parking {
			delete(w.out, d.seq)
			w.settled[d.seq] = true // now, since the answer makes the next one go
		}
		if got := w.answer(d, text, nil); got == parking {
			w.t.Fatalf("an ack of event %d settled it: %v, but it is being parked: %v (settled before: %v)", d.seq, got, parking, was)
		}
	}
}

// parking reports whether the parker has an event that it has not stored.
func (w *world) parking(seq uint64) bool {
	return w.handed(seq) && !w.settled[seq]
}

func (w *world) handed(seq uint64) bool {
	for _, p := range w.parker.got {
		if p.Event.Sequence == seq {
			return true
		}
	}
	return false
}

func (w *world) letPass(t *rapid.T) {
	w.pass(time.Duration(rapid.SampledFrom([]int{1, 50, 250, 500, 1000, 2500, 10000}).Draw(t, "ms")) * time.Millisecond)
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
	w.refuses = f
}

// lost loses the connection with all that waits for an answer.
func (w *world) lost(*rapid.T) {
	for seq, o := range w.out {
		if w.now.Before(o.due) && !w.handed(seq) {
			delete(w.out, seq)
			if !o.probe {
				w.spent[seq]--
			}
		}
	}
	w.step(func() { w.ConnectionLost(w.now) })
}

// store makes the store answer in another way from now on.
func (w *world) store(t *rapid.T) {
	how := rapid.SampledFrom([]string{"at once", "later", "later", "not at all", "with an error"}).Draw(t, "store answers")
	w.fetcher.holds, w.fetcher.full, w.fetcher.fail = how == "later", how == "not at all", nil
	if how == "with an error" {
		w.fetcher.fail = errors.New("no leader")
	}
}

// servers makes the servers tell otherwise who listens. That somebody does they
// never say of what is answered with "no responders".
func (w *world) servers(t *rapid.T) {
	w.asker.who = rapid.SampledFrom([]core.Who{core.Unknown, core.Nobody}).Draw(t, "who listens")
	w.asker.full = rapid.IntRange(0, 3).Draw(t, "full") == 0
}

// lose deletes an event from the store. The pool may have it still.
func (w *world) lose(t *rapid.T) {
	if w.last > 0 {
		delete(w.fetcher.stored, rapid.Uint64Range(1, w.last).Draw(t, "seq"))
	}
}

// told takes notice of an event that the pool gives up because it is gone.
func (w *world) noticed(n core.Notice) {
	if n.What != wire.AdvEventLost {
		return
	}
	seq := n.Data["sequence"].(uint64)
	if w.fetcher.stored[seq] != nil || w.settled[seq] {
		w.fault("event %d is given up, but it is in the store, or settled", seq)
	}
	delete(w.out, seq)
	w.settled[seq], w.gone[seq] = true, true
}

func (w *world) storeParked(*rapid.T) {
	for _, p := range w.parker.got {
		seq := p.Event.Sequence
		if w.doomed[seq] {
			w.inOrder(seq)
		}
		delete(w.out, seq)
		w.settled[seq] = true
	}
	w.parked(nil)
}

// noRoom has nothing of what was handed over stored.
func (w *world) noRoom(*rapid.T) {
	p := &w.parker
	for _, e := range p.waiting {
		delete(w.out, e.Event.Sequence)
		w.given[e.Event.Sequence] = true
	}
	p.got = p.got[:len(p.got)-len(p.waiting)]
	w.parked(core.ErrFull)
}

func (w *world) check(t *rapid.T) {
	if w.broken != "" {
		t.Fatal(w.broken)
	}
	for _, p := range w.parker.got {
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
	st, flying := w.status(), 0
	for seq, o := range w.out {
		if w.now.Before(o.due) && !w.handed(seq) {
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
	w.refuses, w.parker.full, w.asker = nil, false, asker{}
	w.fetcher = fetcher{stored: w.fetcher.stored, got: w.fetcher.got}
	for range 1000 {
		w.fetched()
		w.storeParked(w.t)
		for i := 0; i < len(w.all); i++ { // it grows meanwhile
			d := w.all[i]
			if o := w.out[d.seq]; o != nil && o.token == d.token && !w.settled[d.seq] && !w.handed(d.seq) {
				w.say(d, "")
			}
		}
		w.check(w.t)
		if w.status().Pending == 0 {
			w.wantDone()
			return
		}
		w.pass(300 * time.Millisecond)
	}
	w.t.Fatalf("a healthy subscriber for five minutes, and yet: %+v", w.status())
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
	known := transitions(t)
	rapid.Check(t, func(t *rapid.T) {
		w := &world{
			sim: newSim(t, draw(t)), key: map[uint64]string{}, settled: map[uint64]bool{}, doomed: map[uint64]bool{},
			attempt: map[uint64]int{}, spent: map[uint64]int{}, gone: map[uint64]bool{}, given: map[uint64]bool{}, out: map[uint64]*delivered{},
		}
		w.sim.saw, w.notify = w.judge, w.noticed
		t.Repeat(map[string]func(*rapid.T){
			"offer": w.offerSome, "reply": w.reply, "reply again": w.reply, "pass": w.letPass,
			"connection": w.connection, "store parked": w.storeParked, "no room to park": w.noRoom,
			"connection lost": w.lost, "connection back": func(*rapid.T) { w.step(w.ConnectionBack) },
			"parker": func(t *rapid.T) { w.parker.full = rapid.Bool().Draw(t, "full") },
			"store":  w.store, "fetched": func(*rapid.T) { w.fetched() }, "lose": w.lose, "servers": w.servers,
			"tick":    func(*rapid.T) { w.step(func() { w.Tick(w.now) }) },
			"no room": func(*rapid.T) { w.MakeRoom(w.now); w.carryOut() },
			"":        w.check,
		})
		w.heal()
		for move := range w.moves {
			if !known[move] {
				t.Fatalf("%s is not in the table of doc.go", move)
			}
		}
	})
}

// transitions are those of the table in doc.go.
func transitions(t *testing.T) map[string]bool {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	_, table, _ := strings.Cut(string(doc), "what may follow\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimPrefix(strings.TrimSpace(line), "//\t"), "  ")
		cells = slices.DeleteFunc(cells, func(s string) bool { return s == "" })
		if len(cells) != 3 {
			break
		}
		for to := range strings.SplitSeq(cells[2], ",") {
			known[cells[0]+" -> "+strings.TrimSpace(to)] = true
		}
	}
	if len(known) < 30 {
		t.Fatalf("doc.go has a table of %d transitions only", len(known))
	}
	return known
}
