package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// workerArg makes this program a worker: a process of subscribers.
const workerArg = "-worker"

// job is what a worker does: it takes Events × Subs distinct deliveries and
// then says how long they were under way.
type job struct {
	Kind    string // one of the constants below
	Subject string // subscribe: where deliveries come in
	Answer  string // subscribe: what a delivery is answered with, see below
	Events  int    // stored events that are to come in, by sequence from 1
	Subs    int    // how many times each of them comes; native: the number of consumers
	Filters int    // native: so many consumers, each takes the events of one key
	From    uint64 // the first sequence that counts; 0 is 1
	Bytes   int    // native: of an event, if it is large
}

// The kinds of jobs.
const (
	kindSubscribe = "subscribe" // a core NATS subscriber: Sluice's side
	kindExplicit  = "explicit"  // pull consumers with explicit acks
	kindAckNone   = "ack-none"  // pull consumers without acks
	kindOrdered   = "ordered"   // an ordered consumer
)

// The answers of a subscriber.
const (
	answerAck   = "ack"
	answerNone  = ""
	answerNever = "never" // like answerNone, but counts nothing
	answerLate  = "late"  // an ack after five seconds; counts nothing
	answerNak   = "nak"   // counts nothing
)

// latency is a worker's report: quantiles of the time from publishing to delivery, where
// the events say when they were published.
type latency struct {
	P50, P99, Max time.Duration
}

// worker is a worker as its parent sees it.
type worker struct {
	lines *bufio.Scanner
	stdin io.Writer
}

// startWorker runs this program again, for one job. It does nothing yet.
func (w *world) startWorker(ctx context.Context, j job) (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	spec, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, workerArg, w.URL, string(spec))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p, err := w.Launch(cmd, nil)
	if err != nil {
		return nil, err
	}
	wk := &worker{bufio.NewScanner(p.Out), stdin}
	return wk, wk.expect("connected")
}

// begin lets the worker begin and waits until it takes deliveries.
func (wk *worker) begin() error {
	if _, err := io.WriteString(wk.stdin, "begin\n"); err != nil {
		return err
	}
	return wk.expect("begun")
}

// beginWorker is startWorker and begin.
func (w *world) beginWorker(ctx context.Context, j job) (*worker, error) {
	wk, err := w.startWorker(ctx, j)
	if err != nil {
		return nil, err
	}
	return wk, wk.begin()
}

func (wk *worker) expect(want string) error {
	line, err := wk.line()
	if err == nil && line != want {
		err = fmt.Errorf("the worker said %q, not %q", line, want)
	}
	return err
}

func (wk *worker) line() (string, error) {
	if !wk.lines.Scan() {
		return "", errors.Join(errors.New("the worker ended early"), wk.lines.Err())
	}
	return wk.lines.Text(), nil
}

// done waits until all deliveries have come in.
func (wk *worker) done() (latency, error) {
	line, err := wk.line()
	if err != nil {
		return latency{}, err
	}
	var l latency
	if err := json.Unmarshal([]byte(line), &l); err != nil {
		return latency{}, fmt.Errorf("the worker said %q: %w", line, err)
	}
	return l, nil
}

// take begins to take events as the job says.
func take(ctx context.Context, nc *nats.Conn, j job, t *tally) error {
	switch j.Kind {
	case kindSubscribe:
		return subscribe(nc, j, t)
	case kindExplicit, kindAckNone:
		return consume(ctx, nc, j, t)
	case kindOrdered:
		return ordered(ctx, nc, t)
	default:
		return fmt.Errorf("worker: no job %q", j.Kind)
	}
}

// work is the main function of a worker.
func work(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("worker: want a URL and a job")
	}
	var j job
	if err := json.Unmarshal([]byte(args[1]), &j); err != nil {
		return fmt.Errorf("worker: job: %w", err)
	}
	nc, err := nats.Connect(args[0])
	if err != nil {
		return err
	}
	defer nc.Close()
	fmt.Println("connected")
	if _, err := fmt.Scanln(new(string)); err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	t := newTally(j)
	if err := take(ctx, nc, j, t); err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	fmt.Println("begun")
	select {
	case err := <-t.done:
		if err == nil {
			err = nc.Flush()
		}
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(t.latency())
		}
		if err != nil {
			return err
		}
		<-ctx.Done() // until the parent ends it: what comes late is still answered
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tally counts distinct deliveries and notes how long each was under way. Its
// methods are called by one goroutine, up to done.
type tally struct {
	j     job
	seen  []bool
	count int
	took  []time.Duration
	done  chan error // cap 1
}

func newTally(j job) *tally {
	return &tally{j: j, seen: make([]bool, j.Events*j.Subs), took: make([]time.Duration, 0, j.Events*j.Subs), done: make(chan error, 1)}
}

// add counts the delivery of an event to a subscription, from 0.
func (t *tally) add(sub int, seq uint64, h nats.Header) {
	if seq < t.j.From {
		return
	}
	i := sub*t.j.Events + int(seq-max(t.j.From, 1))
	if i >= len(t.seen) {
		t.fail(fmt.Errorf("sequence %d of subscription %d: not one that was published", seq, sub))
		return
	}
	if t.seen[i] {
		return
	}
	t.seen[i] = true
	if at := sentAt(h); at > 0 {
		t.took = append(t.took, time.Duration(time.Now().UnixNano()-at))
	}
	if t.count++; t.count == len(t.seen) {
		t.done <- nil
	}
}

func (t *tally) fail(err error) {
	select {
	case t.done <- err:
	default: // one is enough
	}
}

func (t *tally) latency() latency {
	if len(t.took) == 0 {
		return latency{}
	}
	slices.Sort(t.took)
	n := len(t.took)
	return latency{P50: t.took[n/2], P99: t.took[n*99/100], Max: t.took[n-1]}
}
