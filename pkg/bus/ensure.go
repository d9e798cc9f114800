package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	// subscriptionsHistory is how many revisions of a record are kept: what
	// the replayer can look back on. It is the most that KV allows.
	subscriptionsHistory = 64
	advisoriesMaxAge     = 7 * 24 * time.Hour
	// maxConsumers replaces the server's default of 1000 per stream, which
	// counts every watch of a bucket.
	maxConsumers = 100_000
	// metaCreation is a key of a stream's metadata: by its value the Ensure that
	// created the stream knows its work. Without it JetStream would tell
	// everybody who asks for the same stream at once that it was created.
	metaCreation = "sluice.creation"
	// callTimeout bounds each request of Ensure.
	callTimeout = 5 * time.Second
	// minSessionTTL is the least that KV expiry and its timers can keep.
	minSessionTTL = time.Second
)

// Layout is what Ensure creates and in which shape.
type Layout struct {
	// Namespace prefixes every name. Defaults to wire.DefaultNamespace.
	Namespace wire.Namespace
	// Replicas of each bucket and stream, 1 to 5. Defaults to 1.
	Replicas int
	// SessionTTL is how long a session or lease outlives its last renewal, at
	// least 1s. All instances of a namespace must agree on it. Defaults to 10s.
	SessionTTL time.Duration
}

// WithDefaults returns l with its zero fields filled in.
func (l Layout) WithDefaults() Layout {
	if l.Namespace == "" {
		l.Namespace = wire.DefaultNamespace
	}
	if l.Replicas == 0 {
		l.Replicas = 1
	}
	if l.SessionTTL == 0 {
		l.SessionTTL = 10 * time.Second
	}
	return l
}

// Validate reports everything that is wrong with l, zero fields being
// the defaults.
func (l Layout) Validate() error {
	l = l.WithDefaults()
	errs := []error{l.Namespace.Validate()}
	if l.Replicas < 1 || l.Replicas > 5 {
		errs = append(errs, fmt.Errorf("replicas %d: want 1 to 5", l.Replicas))
	}
	if l.SessionTTL < minSessionTTL {
		errs = append(errs, fmt.Errorf("session TTL %v: want at least %v", l.SessionTTL, minSessionTTL))
	}
	return errors.Join(errs...)
}

// Buckets are Sluice's key-value buckets.
type Buckets struct {
	Subscriptions, Pools, Sessions, Health, Replays jetstream.KeyValue
}

// Ensure creates the buckets and streams of l that are missing and returns
// the buckets. It may run in any number of processes at once; what is created
// is logged by the one that did. It retries with backoff until it succeeds or
// ctx ends, and logs what it waits for.
//
// What exists keeps its settings, but for those that Sluice cannot work with:
// too short a history or session TTL is raised. So are the replicas if the
// cluster has the room, and how many consumers a bucket may have if the server
// can change that. Nothing is ever lowered.
func Ensure(ctx context.Context, js jetstream.JetStream, l Layout, log zerolog.Logger) (*Buckets, error) {
	if err := l.Validate(); err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	l = l.WithDefaults()
	creation := map[string]string{metaCreation: nuid.Next()}
	for _, want := range l.streams() {
		want.Metadata = creation
		_, err := retry(ctx, log, "prepare stream "+want.Name, func() (struct{}, error) {
			return struct{}{}, ensureStream(ctx, js, want, log)
		})
		if err != nil {
			return nil, err
		}
	}
	return openBuckets(ctx, js, l.Namespace, log)
}

func openBuckets(ctx context.Context, js jetstream.JetStream, ns wire.Namespace, log zerolog.Logger) (*Buckets, error) {
	var b Buckets
	for _, o := range []struct {
		name string
		kv   *jetstream.KeyValue
	}{
		{ns.BucketSubscriptions(), &b.Subscriptions},
		{ns.BucketPools(), &b.Pools},
		{ns.BucketSessions(), &b.Sessions},
		{ns.BucketHealth(), &b.Health},
		{ns.BucketReplays(), &b.Replays},
	} {
		kv, err := retry(ctx, log, "open bucket "+o.name, func() (jetstream.KeyValue, error) {
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			return js.KeyValue(ctx, o.name)
		})
		if err != nil {
			return nil, err
		}
		*o.kv = kv
	}
	return &b, nil
}

// streams is everything that l asks for, buckets included: they are created
// as streams since a bucket's configuration cannot set MaxConsumers.
func (l Layout) streams() []jetstream.StreamConfig {
	ns := l.Namespace
	return []jetstream.StreamConfig{
		l.bucket(ns.BucketSubscriptions(), "Sluice: subscriptions", subscriptionsHistory, 0),
		l.bucket(ns.BucketPools(), "Sluice: claims and checkpoints", 1, 0),
		l.bucket(ns.BucketSessions(), "Sluice: sessions and leases", 1, l.SessionTTL),
		l.bucket(ns.BucketHealth(), "Sluice: health reports", 1, 0),
		l.bucket(ns.BucketReplays(), "Sluice: replays", 1, 0),
		l.stream(ns.StreamAdvisories(), "Sluice: advisories", ns.Advisories(), advisoriesMaxAge),
		l.stream(ns.StreamParked(), "Sluice: parked events", ns.Parked("*"), 0),
		l.stream(ns.StreamQuarantine(), "Sluice: unreadable entries", ns.Quarantine("*"), 0),
	}
}

func (l Layout) stream(name, description, subject string, maxAge time.Duration) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Description: description, Subjects: []string{subject},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Discard: jetstream.DiscardOld,
		MaxAge: maxAge, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxMsgsPerSubject: -1,
		MaxConsumers: maxConsumers, Replicas: l.Replicas, AllowDirect: true,
	}
}

// bucket is the stream that the KV client would create for a bucket.
func (l Layout) bucket(name, description string, history int64, ttl time.Duration) jetstream.StreamConfig {
	cfg := l.stream("KV_"+name, description, "$KV."+name+".>", ttl)
	cfg.MaxMsgsPerSubject = history
	cfg.Discard = jetstream.DiscardNew
	cfg.AllowRollup, cfg.DenyDelete = true, true
	cfg.Duplicates = 2 * time.Minute
	if ttl > 0 {
		cfg.Duplicates = min(cfg.Duplicates, ttl)
	}
	return cfg
}

// ensureStream creates want or checks what is there.
func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, log zerolog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was faster
			s, err = js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", want.Name, err)
	}
	have := s.CachedInfo().Config
	if have.Metadata[metaCreation] == want.Metadata[metaCreation] { // at an earlier try, perhaps
		log.Info().Str("stream", want.Name).Int("replicas", want.Replicas).Msg("stream created")
		return nil
	}
	return adapt(ctx, js, have, want, log)
}

// adapt raises what of have Sluice cannot work with.
func adapt(ctx context.Context, js jetstream.JetStream, have, want jetstream.StreamConfig, log zerolog.Logger) error {
	if err := compatible(have, want); err != nil {
		return err
	}
	if ttlShorter(want, have) {
		log.Warn().Str("stream", have.Name).Dur("configured_ms", want.MaxAge).Dur("kept_ms", have.MaxAge).
			Msg("session TTL is longer in the bucket than configured, kept")
	}
	if next, changed := raise(have, want); changed {
		if _, err := js.UpdateStream(ctx, next); err != nil {
			return fmt.Errorf("adapt stream %s: %w", have.Name, err)
		}
		log.Info().Str("stream", have.Name).Int64("history", next.MaxMsgsPerSubject).
			Dur("max_age_ms", next.MaxAge).Msg("stream adapted")
		have = next
	}
	improve(ctx, js, have, want, log)
	return nil
}

// improve raises what have works without. Where that cannot be had it is
// logged, and have stays as it is.
func improve(ctx context.Context, js jetstream.JetStream, have, want jetstream.StreamConfig, log zerolog.Logger) {
	raise := func(what string, value int, set func(*jetstream.StreamConfig)) {
		next := have
		set(&next)
		if _, err := js.UpdateStream(ctx, next); err != nil {
			log.Warn().Err(err).Str("stream", have.Name).Int(what, value).Msg("cannot raise " + what)
			return
		}
		have = next
		log.Info().Str("stream", have.Name).Int(what, value).Msg(what + " raised")
	}
	if have.Replicas < want.Replicas {
		raise("replicas", want.Replicas, func(c *jetstream.StreamConfig) { c.Replicas = want.Replicas })
	}
	if isBucket(want) && have.MaxConsumers < want.MaxConsumers { // -1 is the server's own limit
		raise("consumers", want.MaxConsumers, func(c *jetstream.StreamConfig) { c.MaxConsumers = want.MaxConsumers })
	}
}

func ttlShorter(want, have jetstream.StreamConfig) bool {
	return isBucket(want) && want.MaxAge > 0 && want.MaxAge < have.MaxAge
}

func isBucket(c jetstream.StreamConfig) bool { return c.Discard == jetstream.DiscardNew }

// compatible reports what makes have useless as want and cannot be changed.
func compatible(have, want jetstream.StreamConfig) error {
	var errs []error
	if !slices.Equal(have.Subjects, want.Subjects) {
		errs = append(errs, fmt.Errorf("subjects are %q, want %q", have.Subjects, want.Subjects))
	}
	if have.Retention != want.Retention {
		errs = append(errs, fmt.Errorf("retention is %v, want %v", have.Retention, want.Retention))
	}
	if have.Mirror != nil {
		errs = append(errs, errors.New("it is a mirror"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("stream %s exists and cannot be used: %w", have.Name, errors.Join(errs...))
	}
	return nil
}

// raise returns have with what is too small for want made as large.
func raise(have, want jetstream.StreamConfig) (next jetstream.StreamConfig, changed bool) {
	next = have
	if !isBucket(want) {
		return next, false // its limits are the operator's
	}
	if have.MaxMsgsPerSubject > 0 && have.MaxMsgsPerSubject < want.MaxMsgsPerSubject {
		next.MaxMsgsPerSubject, changed = want.MaxMsgsPerSubject, true
	}
	switch {
	case want.MaxAge == 0 && have.MaxAge != 0: // records must not expire
		next.MaxAge, changed = 0, true
	case want.MaxAge > 0 && (have.MaxAge == 0 || have.MaxAge < want.MaxAge):
		next.MaxAge, changed = want.MaxAge, true
	}
	if changed && next.MaxAge > 0 && next.Duplicates > next.MaxAge {
		next.Duplicates = next.MaxAge
	}
	if !have.AllowDirect {
		next.AllowDirect, changed = true, true
	}
	return next, changed
}
