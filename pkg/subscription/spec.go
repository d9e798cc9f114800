package subscription

import (
	"encoding/json"

	"github.com/sluicehq/sluice/pkg/wire"
)

// spec returns the readers of a spec's members. s must hold the defaults.
func (f *fields) spec(s *wire.Spec) map[string]reader {
	return map[string]reader{
		"store":        f.text(&s.Store),
		"selector":     f.selector(&s.Selector),
		"start":        f.position(&s.Start),
		"deliver":      f.deliver(&s.Deliver),
		"order_by":     f.orderBy(&s.OrderBy),
		"pool_size":    f.poolSize(&s.PoolSize),
		"ack_wait":     f.duration(&s.AckWait),
		"retry":        f.retry(&s.Retry),
		"on_exhausted": f.text(&s.OnExhausted),
		"breaker": func(path string, n *node) {
			f.object(path, n, map[string]reader{
				"failures": f.whole(&s.Breaker.Failures),
				"open_for": f.duration(&s.Breaker.OpenFor),
			})
		},
		"expire_after": f.duration(&s.ExpireAfter),
		"on_gap":       f.text(&s.OnGap),
		"labels":       f.labels(&s.Labels),
	}
}

func (f *fields) selector(into *wire.Selector) reader {
	return func(path string, n *node) {
		f.object(path, n, map[string]reader{
			"by_stream":        f.texts(&into.ByStream),
			"by_event_type":    f.texts(&into.ByEventType),
			"by_event_pattern": keepRaw(&into.ByEventPattern),
			"by_event_payload": keepRaw(&into.ByEventPayload),
		})
	}
}

func (f *fields) deliver(into *wire.Deliver) reader {
	return func(path string, n *node) {
		given := f.object(path, n, map[string]reader{
			"subject": f.text(&into.Subject),
			"stream":  f.text(&into.Stream),
			"mode":    f.text(&into.Mode),
			"ack":     f.text(&into.Ack),
		})
		if n.kind == kindObject && !given["subject"] {
			f.fault(join(path, "subject"), "is required")
		}
	}
}

func (f *fields) poolSize(into *wire.PoolSize) reader {
	return func(path string, n *node) {
		given := f.object(path, n, map[string]reader{
			"min": f.whole(&into.Min),
			"max": f.whole(&into.Max),
		})
		pair[int]{&into.Min, &into.Max, 1, MaxPoolSize}.complete(given["min"], given["max"])
	}
}

func (f *fields) retry(into *wire.Retry) reader {
	return func(path string, n *node) {
		given := f.object(path, n, map[string]reader{
			"max_attempts": f.whole(&into.MaxAttempts),
			"min_backoff":  f.duration(&into.MinBackoff),
			"max_backoff":  f.duration(&into.MaxBackoff),
		})
		pair[wire.Duration]{
			&into.MinBackoff, &into.MaxBackoff, wire.Duration(MinBackoff), wire.Duration(MaxBackoff),
		}.complete(given["min_backoff"], given["max_backoff"])
	}
}

// keepRaw keeps a pattern's text; the rules have it parsed.
func keepRaw(into *json.RawMessage) reader {
	return func(_ string, n *node) { *into = json.RawMessage(n.raw) }
}

func (f *fields) position(into *wire.Position) reader {
	const want = `want "new", "all", {"sequence": n} or {"time": RFC 3339}`
	return func(path string, n *node) {
		switch {
		case n.kind == kindString && n.text == "new":
			*into = wire.Position{Kind: wire.PositionNew}
		case n.kind == kindString && n.text == "all":
			*into = wire.Position{Kind: wire.PositionAll}
		case n.kind == kindString:
			f.fault(path, "%s, got %q", want, clip(n.text))
		case n.kind != kindObject:
			f.fault(path, "%s, got %s", want, n.kind)
		default:
			f.positionObject(path, n, into, want)
		}
	}
}

func (f *fields) positionObject(path string, n *node, into *wire.Position, want string) {
	before := len(f.faults)
	var p wire.Position
	given := f.object(path, n, map[string]reader{
		"sequence": f.count(&p.Sequence),
		"time":     f.moment(&p.Time),
	})
	switch {
	case len(f.faults) > before:
	case given["sequence"] == given["time"]:
		f.fault(path, "%s", want)
	case given["sequence"] && !f.sequence(path, p.Sequence):
	case given["sequence"]:
		p.Kind = wire.PositionSequence
		*into = p
	default:
		p.Kind = wire.PositionTime
		*into = p
	}
}

// sequence finds fault with a sequence that no event of a store can have.
func (f *fields) sequence(path string, seq uint64) bool {
	if seq < 1 || seq > maxSequence {
		f.fault(join(path, "sequence"), "want a whole number from 1 to %d, got %d", uint64(maxSequence), seq)
		return false
	}
	return true
}

func (f *fields) orderBy(into *wire.OrderBy) reader {
	const want = `want "stream", "subject", "none", {"token": n} or {"header": name}`
	return func(path string, n *node) {
		switch {
		case n.kind == kindString && n.text == "stream":
			*into = wire.OrderBy{Kind: wire.OrderStream}
		case n.kind == kindString && n.text == "subject":
			*into = wire.OrderBy{Kind: wire.OrderSubject}
		case n.kind == kindString && n.text == "none":
			*into = wire.OrderBy{Kind: wire.OrderNone}
		case n.kind == kindString:
			f.fault(path, "%s, got %q", want, clip(n.text))
		case n.kind != kindObject:
			f.fault(path, "%s, got %s", want, n.kind)
		default:
			f.orderByObject(path, n, into, want)
		}
	}
}

func (f *fields) orderByObject(path string, n *node, into *wire.OrderBy, want string) {
	before := len(f.faults)
	var o wire.OrderBy
	given := f.object(path, n, map[string]reader{
		"token":  f.whole(&o.Token),
		"header": f.text(&o.Header),
	})
	switch {
	case len(f.faults) > before:
	case given["token"] == given["header"]:
		f.fault(path, "%s", want)
	case given["token"]:
		o.Kind = wire.OrderToken
		*into = o
	default:
		o.Kind = wire.OrderHeader
		*into = o
	}
}
