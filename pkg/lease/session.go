package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Bucket is the part of jetstream.KeyValue that a holder needs.
type Bucket interface {
	bucket.Cell
	Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error)
}

// SessionConfig of a Session.
type SessionConfig struct {
	// Namespace of the installation. Required.
	Namespace wire.Namespace
	// Service and Instance name the holder; Instance must be unique to this
	// start of the process. Both are one token of a subject. Required.
	Service, Instance string
	// TTL is how long the session outlives its last renewal, at least 1s, and
	// the same as the bucket's. Required.
	TTL time.Duration
	// Load gives the session's content at each renewal; Service, Instance,
	// StartedAt and Version are filled in. It must not block. Optional.
	Load func() wire.Session
	// Responder answers probes. Defaults to one that counts nothing.
	Responder *bus.Responder
}

func (c SessionConfig) validate() error {
	errs := []error{c.Namespace.Validate(), validateTTL(c.TTL)}
	for _, s := range []string{c.Service, c.Instance} {
		if !wire.ValidName(s) {
			errs = append(errs, fmt.Errorf("session %s.%s: %q is not a name", c.Service, c.Instance, s))
		}
	}
	return errors.Join(errs...)
}

// Session is the presence of this instance in the sessions bucket.
type Session struct {
	nc  *nats.Conn
	kv  Bucket
	cfg SessionConfig
	log zerolog.Logger

	started time.Time
	changes chan struct{}
	now     chan struct{} // cap 1: renew at once

	mu    sync.Mutex
	term  term
	shown wire.Session // as last written
	held  bool         // it was valid once
	gapAt time.Time    // when it was last known not to be, though it was held

	// Owned by Run.
	rev    uint64 // 0: the key is not ours yet
	unsure bool   // a write may or may not have happened
	said   bool   // validity as last signalled
}

// NewSession returns a session that is not valid until Run has created it.
func NewSession(nc *nats.Conn, kv Bucket, cfg SessionConfig, log zerolog.Logger) (*Session, error) {
	if nc == nil {
		return nil, errors.New("session: no connection")
	}
	if cfg.Responder == nil {
		var err error
		if cfg.Responder, err = bus.NewResponder(nc, bus.ResponderConfig{}); err != nil {
			return nil, err
		}
	}
	return newSession(nc, kv, cfg, log)
}

func newSession(nc *nats.Conn, kv Bucket, cfg SessionConfig, log zerolog.Logger) (*Session, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("session config: %w", err)
	}
	return &Session{
		nc: nc, kv: kv, cfg: cfg, log: log, started: time.Now().UTC(),
		changes: make(chan struct{}, 1), now: make(chan struct{}, 1),
	}, nil
}

// Instance is the name that the session was made for.
func (s *Session) Instance() string { return s.cfg.Instance }

// Valid reports whether the session may be trusted right now. It is false
// from before anybody may consider the instance dead for silence.
func (s *Session) Valid() bool { return s.ValidFor() > 0 }

// ValidFor is how long the session may be trusted from now without another
// renewal, 0 if it may not.
func (s *Session) ValidFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.term.remaining(time.Now())
}

// lastGap is when this instance was last without its session, after it had
// one; it is the zero time if it never was.
func (s *Session) lastGap(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteGap(now)
	return s.gapAt
}

// noteGap notes whether the session is held now. s.mu is held.
func (s *Session) noteGap(now time.Time) {
	switch {
	case s.term.valid(now):
		s.held = true
	case s.held:
		s.gapAt = now
	}
}

// Shown is the session's content as last written.
func (s *Session) Shown() wire.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown
}

// Changes is signalled after Valid changed. Signals coalesce.
func (s *Session) Changes() <-chan struct{} { return s.changes }

// Renew asks for a renewal now, so that others see what Load has to say. It
// does not wait.
func (s *Session) Renew() {
	select {
	case s.now <- struct{}{}:
	default:
	}
}

// Run creates and renews the session and answers probes until ctx ends. Then
// it deletes the session, so that nobody waits for it to expire, and returns
// nil. It may be called once.
func (s *Session) Run(ctx context.Context) error {
	if s.nc != nil {
		// Before the key exists, so that nobody sees the one without the other.
		sub, err := s.nc.Subscribe(s.cfg.Namespace.Session(s.cfg.Service, s.cfg.Instance), s.answer)
		if err != nil {
			return fmt.Errorf("answer probes of %s: %w", s.cfg.Instance, err)
		}
		defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	}
	s.keep(ctx)
	s.set(term{})
	s.signal()
	s.release(context.WithoutCancel(ctx))
	return nil
}

// RunAround is Run beside work, which it returns the error of. The session ends
// after work has returned, so that nobody takes the instance for gone while it
// still finishes something.
func (s *Session) RunAround(ctx context.Context, work func(context.Context) error) error {
	present, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(present) })
	g.Go(func() error {
		defer end()
		return work(ctx)
	})
	return g.Wait()
}

// answer tells a prober that we live.
func (s *Session) answer(m *nats.Msg) {
	if err := s.cfg.Responder.Answer(m, []byte(s.cfg.Instance), nil); err != nil {
		s.log.Debug().Err(err).Msg("probe not answered")
	}
}

// keep renews until ctx ends.
func (s *Session) keep(ctx context.Context) {
	next := time.NewTimer(0) // for the next renewal
	defer next.Stop()
	lapse := time.NewTimer(s.cfg.TTL) // for the end of trust
	defer lapse.Stop()
	var said bus.Repeats
	for {
		select {
		case <-ctx.Done():
			return
		case <-lapse.C:
			s.signal()
			continue
		case <-s.now:
		case <-next.C:
		}
		if ctx.Err() != nil {
			return
		}
		sent, err := s.renew(ctx)
		switch {
		case err == nil:
			if said.Over() {
				s.log.Info().Msg("session renewed again")
			}
			s.set(newTerm(sent, s.cfg.TTL))
			next.Reset(max(0, s.cfg.TTL/renewPart-time.Since(sent)))
		case ctx.Err() != nil:
			return
		default:
			if said.New(err) {
				s.log.Warn().Err(err).Int64("left_ms", s.ValidFor().Milliseconds()).Msg("session renewal failed")
			}
			next.Reset(jittered(s.cfg.TTL / retryPart))
		}
		s.signal()
		lapse.Reset(s.ValidFor()) // at 0 it fires at once and finds nothing new
	}
}

// renew writes the session once and returns when it sent that write. It reads
// the key first, even where it knows what lies there: an instance that hears no
// answers must not keep a session fresh that it cannot trust itself, since the
// others would wait for it.
func (s *Session) renew(ctx context.Context) (sent time.Time, err error) {
	if err := s.reread(ctx); err != nil {
		return sent, err
	}
	content := s.content()
	body, err := wire.Marshal(content)
	if err != nil {
		return sent, fmt.Errorf("encode session %s: %w", s.key(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, within(callTimeout(s.cfg.TTL), s.ValidFor()))
	defer cancel()
	sent = time.Now()
	var rev uint64
	if s.rev == 0 {
		rev, err = s.kv.Create(ctx, s.key(), body)
	} else {
		rev, err = s.kv.Update(ctx, s.key(), body, s.rev)
	}
	if err != nil {
		s.unsure = true // a conflict too: then somebody else wrote or deleted it
		return sent, fmt.Errorf("renew session %s at revision %d: %w", s.key(), s.rev, err)
	}
	s.rev = rev
	s.mu.Lock()
	s.shown = content
	s.mu.Unlock()
	return sent, nil
}

// reread reads the key, and takes over its revision where ours is not sure.
func (s *Session) reread(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, within(lookTimeout(s.cfg.TTL), s.ValidFor()))
	defer cancel()
	e, err := s.kv.Get(ctx, s.key())
	switch {
	case err != nil && !isGone(err):
		return fmt.Errorf("read session %s: %w", s.key(), err)
	case !s.unsure && s.Valid():
		return nil // a read may be older than our last write
	case err == nil:
		s.rev = e.Revision() // the key has our unique name in it
	default:
		if s.rev != 0 {
			s.log.Warn().Str("key", s.key()).Msg("session was gone, created again")
			s.set(term{}) // others may have seen us dead
			s.signal()
		}
		s.rev = 0
	}
	s.unsure = false
	return nil
}

// release deletes the key if it can be reached. A renewal that the end cut short
// may be carried out at any moment: then the key is deleted at its new revision.
func (s *Session) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout(s.cfg.TTL))
	defer cancel()
	_, err := bucket.Change(ctx, s.kv, s.key(), func(bucket.Seen) (*bucket.Write, error) {
		return &bucket.Write{Delete: true}, nil // the key has our unique name in it
	})
	if err != nil {
		s.log.Warn().Err(err).Str("key", s.key()).Msg("session not deleted, it will expire")
	}
}

func (s *Session) key() string { return wire.SessionKey(s.cfg.Service, s.cfg.Instance) }

func (s *Session) content() wire.Session {
	var c wire.Session
	if s.cfg.Load != nil {
		c = s.cfg.Load()
	}
	c.Service, c.Instance, c.StartedAt, c.Version = s.cfg.Service, s.cfg.Instance, s.started, wire.Version
	return c
}

func (s *Session) set(t term) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteGap(time.Now()) // the old term may have run out, or be cut short
	s.term = t
	s.noteGap(time.Now())
}

// signal tells Changes if validity is not what it last said.
func (s *Session) signal() {
	v := s.Valid()
	if v == s.said {
		return
	}
	s.said = v
	select {
	case s.changes <- struct{}{}:
	default:
	}
}
