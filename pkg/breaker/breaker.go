package breaker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Defaults of Config.
const (
	DefaultFailures = 5
	DefaultOpenFor  = 10 * time.Second
)

// ErrOpen is returned where the breaker lets no call through: it is open, or
// half open with its probe under way.
var ErrOpen = errors.New("circuit breaker is open")

// State is what a breaker does with calls.
type State string

// The states of a breaker.
const (
	Closed   State = "closed"    // every call passes
	Open     State = "open"      // no call passes
	HalfOpen State = "half_open" // one call passes, as a probe
)

// Config configures a Breaker.
type Config struct {
	// Name is handed to OnChange.
	Name string

	// Failures is the number of consecutive failures that opens the breaker.
	// Defaults to DefaultFailures.
	Failures uint32

	// Different asks that these failures be of calls with at least two
	// different keys (BeginOf): what fails for one key alone is no fault of
	// whom all of them call.
	Different bool

	// OpenFor is how long the breaker stays open before it lets a probe
	// through. Defaults to DefaultOpenFor, also where it is negative.
	OpenFor time.Duration

	// OnChange is called after each change of state, in order, one call at a
	// time and without a lock held: it may use the breaker. It runs on the
	// goroutine of whichever call caused the change, so it should not block.
	// May be nil.
	OnChange func(name string, from, to State)
}

func (c Config) withDefaults() Config {
	if c.Failures == 0 {
		c.Failures = DefaultFailures
	}
	if c.OpenFor <= 0 {
		c.OpenFor = DefaultOpenFor
	}
	return c
}

// Breaker is a circuit breaker. It has no goroutine of its own: the change
// from open to half open happens (and is told to OnChange) when somebody asks.
// It is safe for concurrent use.
type Breaker struct {
	cfg Config
	cb  *gobreaker.TwoStepCircuitBreaker[any]

	ends sync.Mutex // held while the end of a call is told, so that key is that call's
	key  uint64
	row  row

	mu       sync.Mutex
	openedAt time.Time // when it was last opened
	changes  []change  // still to be told; at most one for each call under way
	telling  bool      // somebody is telling them
}

type change struct{ from, to State }

// row is what is known of the failures in a row beyond their number.
type row struct {
	first uint64 // key of the first one
	mixed bool   // one of them has another key
}

// New returns a closed breaker.
func New(cfg Config) *Breaker {
	b := &Breaker{cfg: cfg.withDefaults()}
	b.cb = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		Name:          cfg.Name,
		MaxRequests:   1,
		Timeout:       b.cfg.OpenFor,
		ReadyToTrip:   b.trips,
		OnStateChange: b.changed,
		IsExcluded:    func(err error) bool { return errors.Is(err, context.Canceled) },
	})
	return b
}

// trips is called by gobreaker after each failure that counts towards an
// opening, with its lock held.
func (b *Breaker) trips(c gobreaker.Counts) bool {
	if c.ConsecutiveFailures == 1 {
		b.row = row{first: b.key}
	}
	b.row.mixed = b.row.mixed || b.key != b.row.first
	return c.ConsecutiveFailures >= b.cfg.Failures && (b.row.mixed || !b.cfg.Different)
}

// Allow asks whether a call may be made now. If so, the caller makes it and
// then calls done once with the outcome; until it does, a half-open breaker
// lets nobody else through. If not, the error is ErrOpen and done is nil.
//
// A caller whose call may be cancelled uses Begin.
func (b *Breaker) Allow() (done func(success bool), err error) {
	finish, err := b.Begin()
	if err != nil {
		return nil, err
	}
	return func(success bool) {
		if success {
			finish(nil)
		} else {
			finish(errFailed)
		}
	}, nil
}

var errFailed = errors.New("call failed")

// Begin is Allow for a call that ends with an error: nil is a success, an
// error that wraps context.Canceled counts as if the call had never been made,
// any other is a failure (context.DeadlineExceeded too). done may be called
// more than once; only the first time counts.
func (b *Breaker) Begin() (done func(err error), err error) { return b.BeginOf(0) }

// BeginOf is Begin for a call that is made for the sake of key (see
// Config.Different).
func (b *Breaker) BeginOf(key uint64) (done func(err error), err error) {
	finish, err := b.cb.Allow()
	b.tell()
	if err != nil {
		return nil, ErrOpen
	}
	var once sync.Once
	return func(err error) {
		once.Do(func() {
			b.finish(finish, key, err)
			b.tell()
		})
	}, nil
}

func (b *Breaker) finish(finish func(error), key uint64, err error) {
	b.ends.Lock()
	defer b.ends.Unlock()
	b.key = key
	finish(err)
}

// Do makes the call if the breaker allows it, and returns its error or
// ErrOpen. A panic of call counts as a failure.
func (b *Breaker) Do(call func() error) error {
	done, err := b.Begin()
	if err != nil {
		return err
	}
	defer done(errFailed) // counts only if call panics
	err = call()
	done(err)
	return err
}

// State returns the present state.
func (b *Breaker) State() State {
	s := state(b.cb.State())
	b.tell()
	return s
}

// RetryIn returns how long the breaker will stay open: 0 unless it is open. A
// half-open breaker whose probe is under way lets no call through either;
// that ends with the probe.
func (b *Breaker) RetryIn() time.Duration {
	if b.State() != Open {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	// gobreaker is half open only once OpenFor is over by more than nothing.
	return max(time.Until(b.openedAt.Add(b.cfg.OpenFor))+time.Nanosecond, time.Nanosecond)
}

// changed is called by gobreaker with its lock held.
func (b *Breaker) changed(_ string, from, to gobreaker.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if to == gobreaker.StateOpen {
		b.openedAt = time.Now()
	}
	if b.cfg.OnChange != nil {
		b.changes = append(b.changes, change{state(from), state(to)})
	}
}

// tell hands the changes so far to OnChange, unless somebody is at it already,
// who will then tell these too.
func (b *Breaker) tell() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.telling {
		return
	}
	b.telling = true
	defer func() { b.telling = false }()
	for len(b.changes) > 0 {
		next := b.changes[0]
		b.changes = b.changes[1:]
		b.callOnChange(next)
	}
}

// callOnChange is called with b.mu held and gives it up for the callback.
func (b *Breaker) callOnChange(c change) {
	b.mu.Unlock()
	defer b.mu.Lock()
	b.cfg.OnChange(b.cfg.Name, c.from, c.to)
}

func state(s gobreaker.State) State {
	switch s {
	case gobreaker.StateOpen:
		return Open
	case gobreaker.StateHalfOpen:
		return HalfOpen
	default:
		return Closed
	}
}
