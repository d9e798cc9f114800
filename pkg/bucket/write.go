package bucket

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of WriteAll.
const (
	// Window is how many writes are under way at once. Their answers come in as
	// fast as the server can write; more of them only wait in its queue.
	Window = 256
	// writeTimeout is how long each is waited for.
	writeTimeout = 5 * time.Second
)

// ErrUnanswered is the outcome of a write that the server did not answer in time:
// it may have been made, or may still be.
var ErrUnanswered = errors.New("the server did not answer: it is not known whether this was written")

// Write is a compare-and-swap of one key.
type Write struct {
	Key   string
	Value []byte
	// Delete leaves a tombstone in place of Value.
	Delete bool
	// Revision is that of the entry or tombstone to replace, 0 where there is none.
	Revision uint64
}

// Told is told what became of a write: the revision that it made, or the error. That
// is jetstream.ErrKeyRevisionMismatch where the key is at another revision,
// *jsapi.FullError where there is no room, and ErrUnanswered where nothing is known.
// An error that it returns ends WriteAll: no further write is begun.
type Told func(w Write, revision uint64, err error) error

func (b *bucket) WriteAll(ctx context.Context, writes iter.Seq[Write], told Told) error {
	nc := b.js.Conn()
	f := &flight{
		b: b, nc: nc, told: told, inbox: nc.NewInbox() + ".", timeout: writeTimeout,
		answers: make(chan *nats.Msg, 2*Window), under: make(map[uint64]sent, Window),
	}
	sub, err := nc.ChanSubscribe(f.inbox+"*", f.answers)
	if err != nil {
		return fmt.Errorf("subscribe to answers: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	for w := range writes {
		for len(f.under) >= Window && f.failed == nil {
			f.wait(ctx)
		}
		if f.failed == nil {
			f.failed = ctx.Err()
		}
		if f.failed != nil {
			break
		}
		f.begin(w)
	}
	for len(f.under) > 0 {
		f.wait(ctx)
	}
	return f.failed
}

// flight are the writes that are under way. Each has a number, by which its answer
// is known; they are begun, and time out, in the order of those.
type flight struct {
	b       *bucket
	nc      *nats.Conn
	told    Told
	inbox   string
	timeout time.Duration
	answers chan *nats.Msg
	under   map[uint64]sent
	first   uint64 // no number below is under way
	next    uint64
	failed  error
}

type sent struct {
	Write
	at time.Time
}

// begin sends a write.
func (f *flight) begin(w Write) {
	number := f.next
	f.next++
	f.under[number] = sent{w, time.Now()}
	subject, err := f.b.subject(w.Key)
	if err != nil {
		f.end(number, 0, err)
		return
	}
	m := nats.NewMsg(subject)
	m.Reply, m.Data = f.inbox+strconv.FormatUint(number, 10), w.Value
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(w.Revision, 10))
	if w.Delete {
		m.Data = nil
		m.Header.Set(operationHeader, "DEL")
	}
	if err := f.nc.PublishMsg(m); err != nil {
		f.end(number, 0, err)
	}
}

// end tells what became of a write, and keeps the first error of what it is told.
func (f *flight) end(number, revision uint64, err error) {
	w := f.under[number].Write
	delete(f.under, number)
	if err := f.told(w, revision, err); err != nil && f.failed == nil {
		f.failed = err
	}
}

// wait waits for the answer of one of the writes under way, or for the end of the
// time that the oldest has.
func (f *flight) wait(ctx context.Context) {
	for ; f.first < f.next; f.first++ {
		if _, open := f.under[f.first]; open {
			break
		}
	}
	timer := time.NewTimer(time.Until(f.under[f.first].at.Add(f.timeout)))
	defer timer.Stop()
	select {
	case m := <-f.answers:
		number, err := strconv.ParseUint(m.Subject[len(f.inbox):], 10, 64)
		if _, open := f.under[number]; err != nil || !open {
			return // a stranger's, or one that came too late
		}
		revision, err := f.b.answer(m)
		f.end(number, revision, err)
	case <-timer.C:
		f.end(f.first, 0, ErrUnanswered)
	case <-ctx.Done():
		f.failed = cmp.Or(f.failed, ctx.Err())
		for number := range f.under {
			f.end(number, 0, ErrUnanswered)
		}
	}
}

// answer is what the server says of a write.
func (b *bucket) answer(m *nats.Msg) (revision uint64, err error) {
	if len(m.Data) == 0 && m.Header.Get("Status") == noResponders {
		return 0, jetstream.ErrNoStreamResponse // nobody was there to write it
	}
	var a struct {
		Error    *jetstream.APIError `json:"error"`
		Stream   string              `json:"stream"`
		Sequence uint64              `json:"seq"`
	}
	switch err := json.Unmarshal(m.Data, &a); {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", ErrUnanswered, err)
	case a.Error != nil && wrongRevision(a.Error.ErrorCode):
		return 0, fmt.Errorf("%w: %w", jetstream.ErrKeyRevisionMismatch, a.Error)
	case a.Error != nil:
		return 0, b.full(a.Error)
	case a.Stream != b.stream || a.Sequence == 0:
		return 0, fmt.Errorf("%w: %q answers with %d", ErrUnanswered, a.Stream, a.Sequence)
	}
	return a.Sequence, nil
}

// noResponders is the server's status for a message that nobody takes.
const noResponders = "503"

// wrongRevision reports whether a code of the server says that the key is at another
// revision.
func wrongRevision(code jetstream.ErrorCode) bool {
	return code == jetstream.JSErrCodeStreamWrongLastSequence || code == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}
