package healthmon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/healthmon/internal/check"
)

// clock tells the server's time, as far as it is known.
type clock struct {
	local func() time.Time
	ahead atomic.Int64 // nanoseconds by which the server is ahead of us
	doubt atomic.Int64 // by how much that may be wrong
}

// now is the server's time.
func (c *clock) now() time.Time { return c.local().Add(time.Duration(c.ahead.Load())) }

// set notes that the server said that it was at, at a time between two of ours.
func (c *clock) set(at, from, to time.Time) {
	ahead, doubt := between(at, from, to)
	if ahead.Abs() <= doubt {
		ahead = 0 // as far as can be told the clocks agree
	}
	c.ahead.Store(int64(ahead))
	c.doubt.Store(int64(doubt))
}

// between returns how far a clock that showed at was ahead of ours at a time
// between two of ours, and by how much that may be wrong.
func between(at, from, to time.Time) (ahead, doubt time.Duration) {
	half := max(0, to.Sub(from)) / 2
	return at.Sub(from.Add(half)), half
}

// own compares our clock with the server's.
func (c *clock) own() check.Clock {
	return check.Clock{
		Service: wire.ServiceHealthmon, Off: -time.Duration(c.ahead.Load()), Doubt: time.Duration(c.doubt.Load()),
	}
}

// other compares a clock that showed at, at a time between two of ours, with the
// server's.
func (c *clock) other(service string, at, from, to time.Time) check.Clock {
	ahead, doubt := between(at, from, to)
	return check.Clock{
		Service: service, Off: ahead - time.Duration(c.ahead.Load()), Doubt: doubt + time.Duration(c.doubt.Load()),
	}
}

// bucketState is what a look at the buckets found.
type bucketState struct {
	last    map[string]uint64    // the last revision, of those that exist
	created map[string]time.Time // when each bucket was made, of those that exist
	missing []string
	unasked []string // that could not be looked at
	rooms   map[string]check.Room
}

// has reports whether a bucket exists.
func (b bucketState) has(bucket string) bool { return !slices.Contains(b.missing, bucket) }

// buckets looks at every bucket, at the streams that may fill up, and at the
// server's clock. It fails where one of records or pools could not be looked at.
func (s *source) buckets(ctx context.Context) (bucketState, error) {
	out := bucketState{last: map[string]uint64{}, created: map[string]time.Time{}, rooms: map[string]check.Room{}}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	for _, name := range []string{
		s.ns.BucketSubscriptions(), s.ns.BucketPools(), s.ns.BucketSessions(), s.ns.BucketHealth(), s.ns.BucketReplays(),
	} {
		g.Go(func() error {
			info, err := s.stream(gctx, "KV_"+name)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, jetstream.ErrStreamNotFound):
				out.missing = append(out.missing, name)
			case err != nil && (name == s.ns.BucketSubscriptions() || name == s.ns.BucketPools()):
				return fmt.Errorf("look at bucket %q: %w", name, err)
			case err != nil:
				s.log.Warn().Err(err).Str("bucket", name).Msg("bucket cannot be looked at")
				out.unasked = append(out.unasked, name)
			default:
				out.last[name], out.created[name], out.rooms[name] = info.State.LastSeq, info.Created, room(info)
			}
			return nil
		})
	}
	for _, name := range []string{s.ns.StreamParked(), s.ns.StreamQuarantine()} {
		g.Go(func() error {
			info, err := s.stream(gctx, name)
			if err != nil {
				s.log.Debug().Err(err).Str("stream", name).Msg("stream cannot be looked at")
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			out.rooms[name] = room(info)
			return nil
		})
	}
	err := g.Wait()
	slices.Sort(out.missing)
	return out, err
}

// room is how much a stream holds, and may hold.
func room(info *jetstream.StreamInfo) check.Room {
	return check.Room{Bytes: info.State.Bytes, Max: uint64(max(info.Config.MaxBytes, 0))}
}

// stream looks at one stream. The answer that records come with sets the clock.
func (s *source) stream(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	from := s.clock.local()
	st, err := s.js.Stream(ctx, name)
	to := s.clock.local()
	if err != nil {
		return nil, err
	}
	info := st.CachedInfo()
	if name == "KV_"+s.ns.BucketSubscriptions() && !info.TimeStamp.IsZero() {
		s.clock.set(info.TimeStamp, from, to)
	}
	return info, nil
}

// isMissing reports whether it is known that a bucket does not exist.
func (s *source) isMissing(ctx context.Context, name string) bool {
	_, err := s.stream(ctx, "KV_"+name)
	return errors.Is(err, jetstream.ErrStreamNotFound)
}

// blind reports whether a bucket is missing without which records and pools
// cannot be judged.
func (s *source) blind(b bucketState) bool {
	return !b.has(s.ns.BucketSubscriptions()) || !b.has(s.ns.BucketPools()) || !b.has(s.ns.BucketSessions())
}

// level waits until the local copies show what the buckets held when they were
// looked at, for a moment at most, and reports whether they do: what looks wrong is
// read again anyhow.
func (s *source) level(ctx context.Context, b bucketState) (level bool, err error) {
	level = true
	for bucket, m := range map[string]*mirror.Mirror{
		s.ns.BucketSubscriptions(): s.subs, s.ns.BucketPools(): s.pools,
	} {
		if was, ok := s.seen.created[bucket]; ok && !was.Equal(b.created[bucket]) {
			m.Kick() // it is another bucket: the copy shows the old one
		}
		last := b.last[bucket]
		wait, cancel := context.WithTimeout(ctx, levelTimeout)
		reached := poll(wait, func() bool { return m.Last() >= last })
		cancel()
		level = level && reached
		if !reached && ctx.Err() == nil {
			m.Kick()
			s.log.Debug().Str("bucket", bucket).Uint64("revision", last).Uint64("seen", m.Last()).
				Msg("local copy lags behind its bucket")
		}
	}
	s.seen = b
	return level, ctx.Err()
}

// created is when a bucket was made, as of the last look; zero: not known.
func (s *source) created(bucket string) time.Time { return s.seen.created[bucket] }
