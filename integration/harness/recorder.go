package harness

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Delivery is what a recorder keeps of a delivery.
type Delivery struct {
	Subscription string
	Store        string
	Sequence     uint64
	Subject      string // the subject of the event
	Attempt      int
	Epoch        uint64
	Answered     bool // it had a reply subject
	Header       nats.Header
	Sum          uint64 // Sum of the body
	At           time.Time
	Data         []byte // only where the recorder keeps bodies
}

// Stream is the event stream of the delivered event, by the contract.
func (d Delivery) Stream() string {
	if d.Header.Get(wire.HeaderCEType) != "" {
		return d.Subject
	}
	if i := strings.LastIndexByte(d.Subject, '.'); i >= 0 {
		return d.Subject[:i]
	}
	return ""
}

// Behaviour is how a subscriber answers a delivery: it calls say with each word,
// now or later, or not at all.
type Behaviour func(d Delivery, say func(word string))

// Ack answers everything with an ack.
func Ack(_ Delivery, say func(string)) { say("+ACK") }

// Silent answers nothing.
func Silent(Delivery, func(string)) {}

// Recorder is a subscriber that keeps a record of everything that it gets.
type Recorder struct {
	env  *Env
	nc   *nats.Conn
	sub  *nats.Subscription
	seed maphash.Seed
	keep bool

	mu         sync.Mutex
	behaviour  Behaviour
	deliveries []Delivery
	changed    chan struct{} // closed at the next delivery
}

// Record subscribes to a subject on a connection of its own and answers each
// delivery as b does.
func (e *Env) Record(subject string, b Behaviour) *Recorder {
	e.T.Helper()
	return e.record(e.Conn(), subject, "", b, false)
}

// RecordOn is Record on a server other than the one that the services use.
func (e *Env) RecordOn(s Server, subject string, b Behaviour) *Recorder {
	e.T.Helper()
	return e.record(e.connect(s), subject, "", b, false)
}

// RecordQueue is Record for one of several recorders in a queue group.
func (e *Env) RecordQueue(subject, queue string, b Behaviour) *Recorder {
	e.T.Helper()
	return e.record(e.Conn(), subject, queue, b, false)
}

// RecordBodies is Record for a recorder that keeps the bodies too.
func (e *Env) RecordBodies(subject string, b Behaviour) *Recorder {
	e.T.Helper()
	return e.record(e.Conn(), subject, "", b, true)
}

func (e *Env) record(nc *nats.Conn, subject, queue string, b Behaviour, keep bool) *Recorder {
	e.T.Helper()
	r := &Recorder{
		env: e, nc: nc, seed: maphash.MakeSeed(), keep: keep,
		behaviour: b, changed: make(chan struct{}),
	}
	r.listen(subject, queue)
	return r
}

func (r *Recorder) listen(subject, queue string) {
	r.env.T.Helper()
	sub, err := r.nc.QueueSubscribe(subject, queue, r.take)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err == nil {
		err = r.nc.Flush()
	}
	if err != nil {
		r.env.T.Fatalf("listen on %s: %v", subject, err)
	}
	r.sub = sub
}

// Close ends the recorder's subscription; what it recorded stays.
func (r *Recorder) Close() {
	r.env.T.Helper()
	if err := r.sub.Unsubscribe(); err != nil {
		r.env.T.Fatalf("unsubscribe: %v", err)
	}
	if err := r.nc.Flush(); err != nil {
		r.env.T.Fatalf("unsubscribe: %v", err)
	}
}

// Behave changes how the recorder answers from now on.
func (r *Recorder) Behave(b Behaviour) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.behaviour = b
}

func (r *Recorder) take(msg *nats.Msg) {
	number := func(header string) uint64 {
		n, err := strconv.ParseUint(msg.Header.Get(header), 10, 64)
		if err != nil {
			r.env.T.Errorf("delivery on %s: header %s: %v", msg.Subject, header, err)
		}
		return n
	}
	d := Delivery{
		Subscription: msg.Header.Get(wire.HeaderSubscription), Store: msg.Header.Get(wire.HeaderStore),
		Sequence: number(wire.HeaderSequence), Subject: msg.Header.Get(wire.HeaderSubject),
		Attempt:  int(number(wire.HeaderAttempt)),
		Answered: msg.Reply != "", Header: msg.Header, Sum: r.Sum(msg.Data), At: time.Now(),
	}
	if msg.Header.Get(wire.HeaderReplay) == "" { // those of a replay have none
		d.Epoch = number(wire.HeaderEpoch)
	}
	if r.keep {
		d.Data = msg.Data
	}
	r.mu.Lock()
	r.deliveries = append(r.deliveries, d)
	close(r.changed)
	r.changed = make(chan struct{})
	behave := r.behaviour
	r.mu.Unlock()
	behave(d, func(word string) {
		if msg.Reply != "" {
			_ = msg.Respond([]byte(word)) // fails while the connection is away: the event comes again
		}
	})
}

// Sum is what Delivery.Sum is for a body, in this recorder.
func (r *Recorder) Sum(body []byte) uint64 { return maphash.Bytes(r.seed, body) }

// Deliveries returns what has come up to now, in order of arrival.
func (r *Recorder) Deliveries() []Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.deliveries)
}

// Count returns how many deliveries have come.
func (r *Recorder) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.deliveries)
}

// First returns the first delivery of each event, in order of arrival.
func (r *Recorder) First() []Delivery {
	seen := make(map[uint64]bool)
	return slices.DeleteFunc(r.Deliveries(), func(d Delivery) bool {
		known := seen[d.Sequence]
		seen[d.Sequence] = true
		return known
	})
}

// Sequences returns the sequence of each delivery, in order of arrival.
func (r *Recorder) Sequences() []uint64 { return sequences(r.Deliveries()) }

func sequences(ds []Delivery) []uint64 {
	seqs := make([]uint64, len(ds))
	for i, d := range ds {
		seqs[i] = d.Sequence
	}
	return seqs
}

// Await waits until cond holds, looking again at each delivery.
func (r *Recorder) Await(what string, cond func([]Delivery) error) []Delivery {
	r.env.T.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		r.mu.Lock()
		changed, ds := r.changed, r.deliveries[:len(r.deliveries):len(r.deliveries)]
		r.mu.Unlock()
		err := cond(ds)
		if err == nil {
			return slices.Clone(ds)
		}
		select {
		case <-changed:
		case <-timer.C:
			r.env.giveUp("waiting for %s: gave up after %v: %v", what, patience, err)
		}
	}
}

// AwaitCount waits until at least n deliveries have come.
func (r *Recorder) AwaitCount(n int) []Delivery {
	r.env.T.Helper()
	return r.Await(fmt.Sprintf("%d deliveries", n), func(ds []Delivery) error {
		if len(ds) < n {
			return fmt.Errorf("there are %d", len(ds))
		}
		return nil
	})
}

// AwaitAll waits until each of the events has come at least once. It waits for
// as long as something new comes at least once a minute.
func (r *Recorder) AwaitAll(want []uint64) {
	r.env.T.Helper()
	missing := make(map[uint64]bool, len(want))
	for _, seq := range want {
		missing[seq] = true
	}
	for read := 0; len(missing) > 0; {
		r.mu.Lock()
		changed, fresh := r.changed, r.deliveries[read:]
		read = len(r.deliveries)
		r.mu.Unlock()
		for _, d := range fresh {
			delete(missing, d.Sequence)
		}
		if len(missing) == 0 {
			return
		}
		timer := time.NewTimer(patience)
		select {
		case <-changed:
		case <-timer.C:
			r.env.giveUp("%d of %d events have not come, %d the first of them; nothing came for %v",
				len(missing), len(want), lowest(missing), patience)
		}
		timer.Stop()
	}
}

func lowest(set map[uint64]bool) uint64 {
	var found uint64
	for seq := range set {
		if found == 0 || seq < found {
			found = seq
		}
	}
	return found
}
