package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/jsapi"
)

const (
	// callTimeout bounds one request. One that falls into an election is never
	// answered, so a longer one would only delay the next. After every eight
	// that failed in a row it is doubled, up to 6 s: the cluster may be slow.
	callTimeout = 750 * time.Millisecond
	// farewell is how long the end of a Feed may take.
	farewell = 500 * time.Millisecond
	minPause = 50 * time.Millisecond
	maxPause = time.Second
)

var errAsked = errors.New("opened anew on request")

// lookError is what Config.Look returned.
type lookError struct{ err error }

func (e *lookError) Error() string { return e.err.Error() }
func (e *lookError) Unwrap() error { return e.err }

// Feed reads a stream. See the package's documentation.
type Feed struct {
	js   JetStream
	cfg  Config
	kick chan struct{} // cap 1: open anew

	// Run's own.
	handle  func(Msg)
	up      <-chan nats.Status // a connection is there again
	last    uint64             // the last message handled, or After
	begun   bool               // one has been handled
	state   State
	failed  int            // openings in a row
	parting sync.WaitGroup // the consumer that is being deleted, one at most
	hurry   func()         // ends that
}

// New returns a Feed that does nothing before Run.
func New(js JetStream, cfg Config) *Feed {
	return &Feed{js: js, cfg: cfg.withDefaults(), kick: make(chan struct{}, 1), last: cfg.After}
}

// Reopen has the consumer made anew, from behind the last message handled: for
// whoever knows that there is more to read than what comes. It does not wait.
func (f *Feed) Reopen() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// Run hands the messages to handle, one after the other, until ctx ends, and
// then returns nil; otherwise it returns only what Config.Look does. Handle may
// block, and is not called once ctx has ended. The end can take half a second, in
// which the consumer is deleted. It may be called once.
func (f *Feed) Run(ctx context.Context, handle func(Msg)) error {
	f.handle = handle
	up := f.js.Conn().StatusChanged(nats.CONNECTED)
	defer f.js.Conn().RemoveStatusListener(up)
	f.up = up
	defer f.leave()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.Multiplier = minPause, maxPause, 2
	for {
		begun := time.Now()
		alive, err := f.session(ctx)
		var end *lookError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &end):
			return end.err
		case alive:
			pause.Reset()
			f.failed = 0
		default:
			f.failed++
		}
		f.interrupted(err)
		if errors.Is(err, errAsked) {
			continue
		}
		f.rest(ctx, pause.NextBackOff()-time.Since(begun))
	}
}

// rest waits, unless there is a reason to go on at once.
func (f *Feed) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-f.up:
	case <-f.kick:
	}
}

// session lives through one consumer and returns why it ended, and whether the
// server was heard.
func (f *Feed) session(ctx context.Context) (alive bool, err error) {
	select { // what happened before needs no further opening
	case <-f.kick:
	case <-f.up:
	default:
	}
	s, err := f.open(ctx)
	if err != nil {
		return false, err
	}
	defer f.part(ctx, s.name)
	defer s.close()
	err = s.read(ctx)
	return s.alive, err
}

// open makes a consumer and subscribes to what it will send.
func (f *Feed) open(ctx context.Context) (*session, error) {
	if err := f.look(ctx); err != nil {
		return nil, err
	}
	call, cancel := context.WithTimeout(ctx, f.patience())
	defer cancel()
	cfg := f.cfg.consumer(f.begun, f.last)
	cons, err := f.js.CreateConsumer(call, f.cfg.Stream, cfg)
	if errors.Is(err, jetstream.ErrMaximumConsumersLimit) {
		f.parting.Wait() // the place may be that of the consumer before
		cons, err = f.js.CreateConsumer(call, f.cfg.Stream, cfg)
	}
	if err != nil {
		var refused *jetstream.APIError
		if !errors.As(err, &refused) {
			f.part(ctx, cfg.Name) // it may have been made
			err = jsapi.Denied(f.js.Conn(), cfg.Name, err)
		}
		return nil, fmt.Errorf("make a consumer of stream %q: %w", f.cfg.Stream, err)
	}
	s, err := newSession(f, cons.CachedInfo())
	if err != nil {
		f.part(ctx, cfg.Name)
		return nil, err
	}
	return s, nil
}

// patience is how long a request may take now.
func (f *Feed) patience() time.Duration { return callTimeout << min(f.failed/8, 3) }

func (f *Feed) look(ctx context.Context) error {
	if f.cfg.Look == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.patience())
	defer cancel()
	stream, err := f.js.Stream(ctx, f.cfg.Stream)
	if err != nil {
		return fmt.Errorf("look at stream %q: %w", f.cfg.Stream, jsapi.Denied(f.js.Conn(), "STREAM.INFO."+f.cfg.Stream, err))
	}
	if err := f.cfg.Look(stream.CachedInfo()); err != nil {
		return &lookError{err}
	}
	return nil
}

// part deletes a consumer that nobody needs any more, beside what follows. The
// server does so by itself only after a while, in which it costs publishers what
// the others do, and holds one of the places that the stream has.
func (f *Feed) part(ctx context.Context, name string) {
	f.parting.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.patience())
	f.hurry = cancel
	f.parting.Go(func() {
		defer cancel()
		err := f.js.DeleteConsumer(ctx, f.cfg.Stream, name)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			f.cfg.Log.Debug().Err(err).Str("consumer", name).Msg("consumer left to the server to remove")
		}
	})
}

// leave waits for the last consumer to be deleted, but not for long.
func (f *Feed) leave() {
	if f.hurry != nil {
		defer time.AfterFunc(farewell, f.hurry).Stop()
	}
	f.parting.Wait()
}

// interrupted notes that a consumer ended.
func (f *Feed) interrupted(err error) {
	n := f.state.Reopened + 1
	level := zerolog.DebugLevel
	if n >= 4 && n&(n-1) == 0 { // ever more seldom
		level = zerolog.WarnLevel
	}
	f.cfg.Log.WithLevel(level).Err(err).Str("stream", f.cfg.Stream).Uint64("position", f.last).Int("times", n).Msg("stream is read by a new consumer")
	f.become(State{Err: err, Reopened: n})
}

// become tells of a new state.
func (f *Feed) become(s State) {
	f.state = s
	f.cfg.OnState(s)
}
