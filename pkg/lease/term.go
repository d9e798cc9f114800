package lease

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// minTTL is what KV expiry can keep.
	minTTL = time.Second
	// marginPart of the TTL is not trusted: it covers clocks of different
	// speed and the way from a look at the trust to the act.
	marginPart = 10
	// renewPart of the TTL passes between renewals. An election can take most of
	// what is left of the trust then.
	renewPart = 5
	// retryPart of the TTL passes before a failed renewal is tried again.
	retryPart = 30
	// callPart of the TTL is what one request may take, lookPart what the read may
	// that comes before a renewal.
	callPart, lookPart = 3, 10
	maxCall            = 5 * time.Second
	minLook            = 500 * time.Millisecond
)

// term is how long a holder may trust what it holds: the pure value behind
// Session.Valid and Leader.Leading. The zero term has run out.
type term struct {
	until time.Time // with monotonic reading
	wall  time.Time // until, by the wall clock, which runs while a machine sleeps
}

// newTerm is the term of a renewal that was sent at sent and succeeded.
func newTerm(sent time.Time, ttl time.Duration) term {
	until := sent.Add(ttl - ttl/marginPart)
	return term{until: until, wall: until.Round(0)}
}

// remaining is how long the term lasts after now, 0 if it has run out.
func (t term) remaining(now time.Time) time.Duration {
	if t.until.IsZero() {
		return 0
	}
	return max(0, min(t.until.Sub(now), t.wall.Sub(now.Round(0))))
}

func (t term) valid(now time.Time) bool { return t.remaining(now) > 0 }

// callTimeout bounds one request of a holder: a renewal that takes longer is
// of no use, and it must leave time for another.
func callTimeout(ttl time.Duration) time.Duration { return min(ttl/callPart, maxCall) }

// lookTimeout bounds the read before a renewal. One that falls into an election
// is never answered, and would only delay the next; a server that is slow is
// slow to write.
func lookTimeout(ttl time.Duration) time.Duration {
	return min(max(ttl/lookPart, minLook), callTimeout(ttl))
}

// within is d, and no longer than the trust that is left, so that the end of trust
// is noticed when it comes.
func within(d, left time.Duration) time.Duration {
	if left <= 0 || d < left {
		return d
	}
	return left
}

// jittered is d, give or take a tenth.
func jittered(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

func validateTTL(ttl time.Duration) error {
	if ttl < minTTL {
		return fmt.Errorf("TTL %v: want at least %v", ttl, minTTL)
	}
	return nil
}

// isGone reports whether err says that a key is not there.
func isGone(err error) bool {
	return errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrKeyDeleted)
}
