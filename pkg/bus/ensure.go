package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket"
)

const (
	// metaCreation is a key of a stream's metadata: by its value the Ensure that
	// created the stream knows its work. Without it JetStream would tell
	// everybody who asks for the same stream at once that it was created.
	metaCreation = "sluice.creation"
	// metaBound is the bound in bytes that Sluice has set. A stream whose bound
	// is another one has it from its operator, and keeps it.
	metaBound = "sluice.max_bytes"
	// callTimeout bounds each request of Ensure.
	callTimeout = 5 * time.Second
)

// Buckets are Sluice's key-value buckets.
type Buckets struct {
	Subscriptions, Pools, Sessions, Health, Replays bucket.KeyValue
}

// Ensure creates the buckets and streams of l that are missing and returns
// the buckets. It may run in any number of processes at once; what is created
// is logged by the one that did. It retries with backoff until it succeeds or
// ctx ends, and logs what it waits for.
//
// What exists keeps its settings, but for those that Sluice cannot work with:
// too short a history or session TTL is raised. So are the replicas if the
// cluster has the room, and how many consumers a bucket may have if the server
// can change that. Nothing is ever lowered, but rollup is switched off, and
// what never had a bound in bytes gets one, unless it holds more.
func Ensure(ctx context.Context, js jetstream.JetStream, l Layout, log zerolog.Logger) (*Buckets, error) {
	if err := l.Validate(); err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	l = l.WithDefaults()
	for _, want := range l.streams() {
		_, err := retry(ctx, waiter{log, l.Waiting}, "prepare stream "+want.Name, func() (struct{}, error) {
			return struct{}{}, ensureStream(ctx, js, want, log)
		})
		if err != nil {
			return nil, err
		}
	}
	return openBuckets(ctx, js, l, log)
}

func openBuckets(ctx context.Context, js jetstream.JetStream, l Layout, log zerolog.Logger) (*Buckets, error) {
	ns := l.Namespace
	var b Buckets
	for _, o := range []struct {
		name string
		kv   *bucket.KeyValue
	}{
		{ns.BucketSubscriptions(), &b.Subscriptions},
		{ns.BucketPools(), &b.Pools},
		{ns.BucketSessions(), &b.Sessions},
		{ns.BucketHealth(), &b.Health},
		{ns.BucketReplays(), &b.Replays},
	} {
		kv, err := retry(ctx, waiter{log, l.Waiting}, "open bucket "+o.name, func() (bucket.KeyValue, error) {
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			return bucket.Open(ctx, js, o.name, l.Owner)
		})
		if err != nil {
			return nil, err
		}
		*o.kv = kv
	}
	return &b, nil
}

// ensureStream creates want or checks what is there.
func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, log zerolog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = createStream(ctx, js, want, log)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", want.Name, explain(js, err))
	}
	return adapt(ctx, js, s.CachedInfo(), want, log)
}

// createStream creates want, unless another process is faster. What is created
// is as want, so that it needs no adapting.
func createStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, log zerolog.Logger) (jetstream.Stream, error) {
	creation := nuid.Next()
	want.Metadata = map[string]string{metaCreation: creation, metaBound: strconv.FormatInt(want.MaxBytes, 10)}
	if isBucket(want) {
		want.FirstSeq = max(want.FirstSeq, firstRevision(time.Now()))
	}
	s, err := js.CreateStream(ctx, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was faster
		return js.Stream(ctx, want.Name)
	}
	if err == nil && s.CachedInfo().Config.Metadata[metaCreation] == creation {
		log.Info().Str("stream", want.Name).Int("replicas", want.Replicas).Msg("stream created")
	}
	return s, err
}

// firstRevision is the first revision of a bucket that is created now: the
// microseconds since 1970. No bucket takes a million writes a second for long,
// so revisions go on rising where a bucket takes the place of one that is gone,
// and with them the epochs that come from revisions. Up to the year 2255 they
// are exact in JSON's usual numbers, which end at 2^53.
func firstRevision(now time.Time) uint64 { return uint64(max(now.UnixMicro(), 1)) }

// adapt raises what of a stream Sluice cannot work with.
func adapt(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo, want jetstream.StreamConfig, log zerolog.Logger) error {
	have := info.Config
	if err := compatible(have, want); err != nil {
		return err
	}
	if ttlShorter(want, have) {
		log.Warn().Str("stream", have.Name).Dur("configured_ms", want.MaxAge).Dur("kept_ms", have.MaxAge).
			Msg("session TTL is longer in the bucket than configured, kept")
	}
	if next, changed := raise(have, want); changed {
		if _, err := js.UpdateStream(ctx, next); err != nil {
			return fmt.Errorf("adapt stream %s: %w", have.Name, explain(js, err))
		}
		log.Info().Str("stream", have.Name).Int64("history", next.MaxMsgsPerSubject).
			Dur("max_age_ms", next.MaxAge).Msg("stream adapted")
		have = next
	}
	for _, i := range improvements(have, want, info.State.Bytes) {
		next := have
		i.set(&next)
		if _, err := js.UpdateStream(ctx, next); err != nil {
			log.Warn().Err(explain(js, err)).Str("stream", have.Name).Int64(i.what, i.value).Msg("cannot change " + i.what)
			continue
		}
		have = next
		log.Info().Str("stream", have.Name).Int64(i.what, i.value).Msg(i.what + " changed")
	}
	if have.MaxBytes <= 0 {
		log.Warn().Str("stream", have.Name).Int64("max_bytes", want.MaxBytes).Uint64("bytes", info.State.Bytes).
			Msg("the stream has no bound in bytes")
	}
	return nil
}

// improvement is a change to a stream that works without it, too.
type improvement struct {
	what  string
	value int64
	set   func(*jetstream.StreamConfig)
}

// improvements are the changes that make have, which holds so many bytes, what
// want asks for. Each is tried by itself, since a server may refuse some.
func improvements(have, want jetstream.StreamConfig, bytes uint64) (list []improvement) {
	add := func(what string, value int64, set func(*jetstream.StreamConfig)) {
		list = append(list, improvement{what, value, set})
	}
	if have.AllowRollup {
		add("rollup", 0, func(c *jetstream.StreamConfig) { c.AllowRollup = false })
	}
	ours, _ := strconv.ParseInt(have.Metadata[metaBound], 10, 64) // else 0: never set by us
	unbounded := have.MaxBytes <= 0 && ours == 0 && bytes <= uint64(want.MaxBytes)
	if unbounded || have.MaxBytes > 0 && have.MaxBytes == ours && ours < want.MaxBytes {
		add("max_bytes", want.MaxBytes, func(c *jetstream.StreamConfig) {
			c.Metadata = maps.Clone(c.Metadata)
			if c.Metadata == nil {
				c.Metadata = map[string]string{}
			}
			c.MaxBytes, c.Discard, c.Metadata[metaBound] = want.MaxBytes, want.Discard, strconv.FormatInt(want.MaxBytes, 10)
		})
	}
	if have.Replicas < want.Replicas {
		add("replicas", int64(want.Replicas), func(c *jetstream.StreamConfig) { c.Replicas = want.Replicas })
	}
	if isBucket(want) && have.MaxConsumers < want.MaxConsumers { // -1 is the server's own limit
		add("consumers", int64(want.MaxConsumers), func(c *jetstream.StreamConfig) { c.MaxConsumers = want.MaxConsumers })
	}
	return list
}

func ttlShorter(want, have jetstream.StreamConfig) bool {
	return isBucket(want) && want.MaxAge > 0 && want.MaxAge < have.MaxAge
}

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
