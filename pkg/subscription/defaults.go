package subscription

import (
	"time"

	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Default returns a spec with every default of the contract; Store, Selector
// and Deliver.Subject have none, nor has Deliver.HTTP.
func Default() wire.Spec {
	return wire.Spec{
		Start:       wire.Position{Kind: wire.PositionNew},
		Deliver:     wire.Deliver{Mode: wire.ModeAck, Ack: wire.AckAny},
		OrderBy:     wire.OrderBy{Kind: wire.OrderStream},
		PoolSize:    wire.PoolSize{Min: 16, Max: 1024},
		AckWait:     wire.Duration(30 * time.Second),
		Retry:       wire.Retry{MaxAttempts: 5, MinBackoff: wire.Duration(time.Second), MaxBackoff: wire.Duration(time.Minute)},
		OnExhausted: wire.ExhaustedPark,
		Breaker:     wire.Breaker{Failures: 5, OpenFor: wire.Duration(10 * time.Second)},
		OnGap:       wire.GapContinue,
	}
}

// Limits of a spec's fields.
const (
	MaxPoolSize      = 65536
	MinAckWait       = 100 * time.Millisecond
	MaxAckWait       = time.Hour
	MaxAttempts      = 1_000_000
	MinBackoff       = time.Millisecond
	MaxBackoff       = 7 * 24 * time.Hour
	MaxFailures      = 1_000_000
	MaxRate          = 1_000_000 // deliveries a second
	MinOpenFor       = time.Millisecond
	MaxOpenFor       = 24 * time.Hour
	MinExpireAfter   = time.Second
	MaxExpireAfter   = 365 * 24 * time.Hour
	MaxLabels        = 16
	MaxLabelKey      = 64                  // characters
	MaxLabelValue    = 256                 // characters
	MaxListed        = strictjson.MaxTexts // members of by_stream or by_event_type
	MaxSubjectLength = 256                 // characters of deliver.subject
	MaxFilterLength  = 1024
	MaxTypeLength    = 256
	MaxStoreLength   = 255
	MaxOrderToken    = 256
	MaxOrderHeader   = 128
)

// complete fills in the halves of pairs that were not given.
func (f *fields) complete(s *wire.Spec) {
	f.completeHTTP(s)
	pair[int]{&s.PoolSize.Min, &s.PoolSize.Max, 1, MaxPoolSize}.complete(f.Given("pool_size.min"), f.Given("pool_size.max"))
	pair[wire.Duration]{
		&s.Retry.MinBackoff, &s.Retry.MaxBackoff, wire.Duration(MinBackoff), wire.Duration(MaxBackoff),
	}.complete(f.Given("retry.min_backoff"), f.Given("retry.max_backoff"))
}

// pair is a minimum and a maximum that a request may give one by one. Both are to
// be from least to most.
type pair[T ~int | ~int64] struct {
	min, max    *T
	least, most T
}

// complete fills in the half that was not given. It keeps min ≤ max: {"max": 4}
// alone means a pool of at most 4, not a contradiction with the default minimum.
// A half outside of least and most is left to the rules.
func (p pair[T]) complete(minGiven, maxGiven bool) {
	switch {
	case maxGiven && !minGiven && *p.max >= p.least:
		*p.min = min(*p.min, *p.max)
	case minGiven && !maxGiven && *p.min <= p.most:
		*p.max = max(*p.min, *p.max)
	}
}
