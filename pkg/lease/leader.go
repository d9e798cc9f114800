package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/wire"
)

// WatchedBucket is the part of a bucket.KeyValue that a Leader needs: to hold a
// key and to see another let go of it.
type WatchedBucket interface {
	Bucket
	mirror.Bucket
}

// Advisor is told of changes of leader; *bus.Advisor is one.
type Advisor interface {
	Advise(what, name, detail string, data map[string]any)
}

// LeaderConfig of a Leader.
type LeaderConfig struct {
	// Namespace of the installation. Required.
	Namespace wire.Namespace
	// Role is what is led, Instance who would lead; Instance must be unique
	// to this start of the process. Required.
	Role, Instance string
	// TTL is how long the lease outlives its last renewal, at least 1s, and
	// the same as the bucket's. Required.
	TTL time.Duration
	// NATS is where a standby asks whether the leader's process is there, on
	// its session's subject. Optional: without it a leader that was killed is
	// waited for until its lease expires.
	NATS *nats.Conn
	// Service is whose sessions those who stand have. Defaults to Role.
	Service string
}

func (c LeaderConfig) validate() error {
	errs := []error{c.Namespace.Validate(), validateTTL(c.TTL)}
	for _, s := range []string{c.Role, c.Instance, c.Service} {
		if !wire.ValidName(s) {
			errs = append(errs, fmt.Errorf("role %s, instance %s, service %s: %q is not a name", c.Role, c.Instance, c.Service, s))
		}
	}
	return errors.Join(errs...)
}

// ErrLost is the cause of the end of work's context where the lease was lost.
var ErrLost = errors.New("lease lost")

// Bounds of the wait before an instance whose work failed stands again.
const (
	minWorkRetry = 500 * time.Millisecond
	maxWorkRetry = 30 * time.Second
)

// Leader is a candidate for a role.
type Leader struct {
	kv   WatchedBucket
	adv  Advisor
	cfg  LeaderConfig
	log  zerolog.Logger
	wake chan struct{} // cap 1: the key changed

	mu   sync.Mutex
	term term // how long the lease may be trusted; zero while following
}

// NewLeader returns a candidate that does not stand until Run. The advisor
// may be nil.
func NewLeader(kv WatchedBucket, adv Advisor, cfg LeaderConfig, log zerolog.Logger) (*Leader, error) {
	cfg.Service = cmp.Or(cfg.Service, cfg.Role)
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("leader config: %w", err)
	}
	return &Leader{kv: kv, adv: adv, cfg: cfg, log: log.With().Str("role", cfg.Role).Logger(), wake: make(chan struct{}, 1)}, nil
}

// Leading reports whether this instance holds the lease and may trust it.
func (l *Leader) Leading() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term.valid(time.Now())
}

// Current reads who leads. It returns false if nobody does, and where it
// cannot be read. A leader that has died is returned until its lease expires.
func (l *Leader) Current(ctx context.Context) (wire.Lease, bool) {
	h, err := l.slot().read(ctx)
	if err != nil || h.lease.Epoch == 0 {
		return wire.Lease{}, false
	}
	return h.lease, true
}

// Run follows and leads in turns until ctx ends, and then returns nil. While
// it leads it runs work, with a context that ends when the lease does (cause
// ErrLost) or ctx does. The lease is released after work has returned, so a
// standby takes over at once; work that does not return when its context ends
// overruns its lease. Work that returns while it leads, with an error or not,
// gives the role up; this instance stands again after a backoff.
//
// A leader whose process is gone is replaced in about a second, since nobody
// answers on its session's subject. Such an instance may still run, cut off for a
// moment, and go on working until it learns that the lease is another's: what it
// writes must be protected by compare-and-swap or carry the epoch. Its session must
// therefore outlive its work.
//
// The epoch in work's lease is higher than that of every lease on this role
// before. It may be called once.
func (l *Leader) Run(ctx context.Context, work func(ctx context.Context, lease wire.Lease) error) error {
	watching := make(chan struct{})
	stopWatch, cancel := context.WithCancel(ctx)
	defer func() { cancel(); <-watching }()
	go func() {
		defer close(watching)
		l.watch(stopWatch)
	}()

	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = minWorkRetry, maxWorkRetry
	for ctx.Err() == nil {
		s, t, ok := l.follow(ctx)
		if !ok {
			continue // ctx has ended
		}
		began := time.Now()
		err := l.lead(ctx, s, t, work)
		if err == nil || ctx.Err() != nil {
			b.Reset()
			continue
		}
		if time.Since(began) > maxWorkRetry {
			b.Reset()
		}
		wait := b.NextBackOff()
		l.log.Error().Err(err).Uint64("epoch", s.lease.Epoch).Int64("retry_ms", wait.Milliseconds()).Msg("leader's work ended")
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// watch wakes follow, or renew, when the key changes by another hand. It only
// makes things quick: both look for themselves too.
func (l *Leader) watch(ctx context.Context) {
	var m *mirror.Mirror
	m = mirror.New(l.kv, mirror.Options{
		Keys: wire.LeaderKey(l.cfg.Role), Log: l.log,
		OnChange: func(key string) {
			e, _ := m.Get(key)
			if h := decodeLease(l.cfg.Role, e.Revision, e.Value); !e.Deleted && h.lease.Instance == l.cfg.Instance {
				return
			}
			select {
			case l.wake <- struct{}{}:
			default:
			}
		},
	})
	_ = m.Run(ctx) // returns nil, when ctx ends
}

func (l *Leader) slot() *slot {
	return &slot{kv: l.kv, key: wire.LeaderKey(l.cfg.Role), role: l.cfg.Role, instance: l.cfg.Instance, ttl: l.cfg.TTL}
}

// follow stands by until the lease is ours, with a term to spend, or ctx ends.
func (l *Leader) follow(ctx context.Context) (*slot, term, bool) {
	var (
		s    = l.slot()
		by   = newStandby(l.cfg)
		said bus.Repeats
	)
	for ctx.Err() == nil {
		h, err := s.read(ctx)
		wait := l.pause()
		switch {
		case err != nil:
		case by.mayTake(h, time.Now()):
			var t term
			t, err = s.acquire(ctx, h.rev)
			switch {
			case err == nil:
				return s, t, true
			case bucket.Conflict(err):
				err = nil // another was faster; look again when it changes
			}
		default:
			by.probe(ctx, h)
			wait = min(wait, by.left(time.Now()))
		}
		wake := l.wake
		if err == nil {
			said.Over()
		} else {
			wake = nil // it may be our own write, which would make us spin
			if said.New(err) {
				l.log.Warn().Err(err).Msg("cannot stand for leader")
			}
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-time.After(jittered(wait) + time.Millisecond):
		}
	}
	return nil, term{}, false
}

// pause is how long a standby waits before it looks again.
func (l *Leader) pause() time.Duration {
	if l.cfg.NATS != nil {
		return defaultProbeEvery
	}
	return min(time.Second, l.cfg.TTL/4)
}

// lead runs work while the lease is ours: clear status, cancel work, wait for
// it, release. It returns work's error where work ended by itself.
func (l *Leader) lead(ctx context.Context, s *slot, t term, work func(context.Context, wire.Lease) error) error {
	l.set(t)
	l.log.Info().Uint64("epoch", s.lease.Epoch).Msg("leading")
	l.advise(wire.AdvLeaderElected, s.lease, "elected")

	workCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	done := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		done <- work(workCtx, s.lease)
	}()
	lost := l.renew(ctx, s, t, ended)
	l.set(term{})
	stop(lost)
	workErr := <-done

	err := s.release(context.WithoutCancel(ctx))
	reason := "released"
	switch {
	case lost != nil:
		reason = lost.Error()
		l.log.Warn().Err(lost).Uint64("epoch", s.lease.Epoch).Msg("no longer leading")
	case err != nil:
		l.log.Warn().Err(err).Msg("lease not released, it will expire")
	default:
		l.log.Info().Uint64("epoch", s.lease.Epoch).Msg("lease released")
	}
	l.advise(wire.AdvLeaderLost, s.lease, reason)
	switch {
	case lost != nil || ctx.Err() != nil:
		return nil // that work complains of its context is no news
	case workErr == nil:
		return errors.New("work returned though the lease holds")
	default:
		return workErr
	}
}

// renew keeps the lease until ctx ends or work has (nil), or until the lease
// or the trust in it is lost (ErrLost).
func (l *Leader) renew(ctx context.Context, s *slot, t term, workEnded <-chan struct{}) error {
	next := time.NewTimer(l.cfg.TTL / renewPart)
	defer next.Stop()
	lapse := time.NewTimer(t.remaining(time.Now()))
	defer lapse.Stop()
	var last error
	var said bus.Repeats
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-workEnded:
			return nil
		case <-lapse.C:
			if last == nil {
				return fmt.Errorf("%w: not renewed in time: the process stood still", ErrLost)
			}
			return fmt.Errorf("%w: not renewed in time: %w", ErrLost, last)
		case <-l.wake: // another wrote the key: find out
		case <-next.C:
		}
		left := t.remaining(time.Now())
		if left <= 0 {
			continue // lapse has fired
		}
		sent, err := s.renew(ctx, left)
		switch {
		case err == nil:
			t = newTerm(sent, l.cfg.TTL)
			l.set(t)
			last = nil
			if said.Over() {
				l.log.Info().Msg("lease renewed again")
			}
			next.Reset(max(0, l.cfg.TTL/renewPart-time.Since(sent)))
		case errors.Is(err, ErrLost):
			return err
		case ctx.Err() != nil:
			return nil
		default:
			if last = err; said.New(err) {
				l.log.Warn().Err(err).Int64("left_ms", t.remaining(time.Now()).Milliseconds()).Msg("lease renewal failed")
			}
			next.Reset(jittered(l.cfg.TTL / retryPart))
		}
		lapse.Reset(t.remaining(time.Now()))
	}
}

func (l *Leader) set(t term) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term = t
}

func (l *Leader) advise(what string, lease wire.Lease, detail string) {
	if l.adv == nil {
		return
	}
	l.adv.Advise(what, l.cfg.Role, detail, map[string]any{"epoch": lease.Epoch, "leader": lease.Instance})
}

var _ WatchedBucket = bucket.KeyValue(nil)
