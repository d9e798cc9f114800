package subscription

import (
	"bytes"
	"maps"
	"slices"

	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Equal reports whether two specs mean the same: the order of by_stream and
// by_event_type and how a pattern is written down do not matter.
func Equal(a, b *wire.Spec) bool {
	return len(NeedRestart(a, b)) == 0 &&
		sameDeliver(a.Deliver, b.Deliver) && a.OrderBy == b.OrderBy && a.PoolSize == b.PoolSize &&
		a.AckWait == b.AckWait && a.Retry == b.Retry && a.OnExhausted == b.OnExhausted &&
		a.Breaker == b.Breaker && a.ExpireAfter == b.ExpireAfter && a.OnGap == b.OnGap &&
		maps.Equal(a.Labels, b.Labels)
}

// NeedRestart returns the fields in which two specs differ that cannot change
// without the checkpoint starting over.
func NeedRestart(a, b *wire.Spec) []string {
	var fields []string
	if a.Store != b.Store {
		fields = append(fields, "store")
	}
	if !sameSelector(a.Selector, b.Selector) {
		fields = append(fields, "selector")
	}
	if !samePosition(a.Start, b.Start) {
		fields = append(fields, "start")
	}
	return fields
}

func sameDeliver(a, b wire.Deliver) bool {
	to, other := a.HTTP, b.HTTP
	a.HTTP, b.HTTP = nil, nil
	return a == b && sameHTTP(to, other)
}

func sameHTTP(a, b *wire.HTTP) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.URL == b.URL && a.Method == b.Method && a.Timeout == b.Timeout && a.SecretRef == b.SecretRef && maps.Equal(a.Headers, b.Headers)
}

func samePosition(a, b wire.Position) bool {
	return a.Kind == b.Kind && a.Sequence == b.Sequence && a.Time.Equal(b.Time)
}

func sameSelector(a, b wire.Selector) bool {
	return sameSet(a.ByStream, b.ByStream) && sameSet(a.ByEventType, b.ByEventType) &&
		samePattern(a.ByEventPattern, b.ByEventPattern) && samePattern(a.ByEventPayload, b.ByEventPayload)
}

func sameSet(a, b []string) bool {
	norm := func(l []string) []string { return slices.Compact(slices.Sorted(slices.Values(l))) }
	return slices.Equal(norm(a), norm(b))
}

func samePattern(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 || bytes.Equal(a, b) {
		return len(a) == len(b)
	}
	return strictjson.Same(a, b)
}
