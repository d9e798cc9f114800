package subscription

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sluicehq/sluice/pkg/pattern"
	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/wire"
)

// validate judges a subscription whose defaults are filled in. It adds the faults of
// values to those of types; a field that has a fault already is not judged again.
// What only the store can tell (that it exists, its retention, the subjects it
// captures) is not looked at here.
func (f *fields) validate(name string, s *wire.Spec, ns wire.Namespace) {
	f.Name("name", name)
	check := f.checker()
	check("store", func(p string) { f.store(p, s.Store, ns) })
	f.selectorRules(check, s.Selector)
	check("start", func(p string) { f.start(p, s.Start) })
	f.deliverRules(check, s, ns)
	check("order_by", func(p string) { f.order(p, s.OrderBy) })
	check("pool_size.min", func(p string) { f.between(p, s.PoolSize.Min, 1, MaxPoolSize) })
	check("pool_size.max", func(p string) { f.between(p, s.PoolSize.Max, 1, MaxPoolSize) })
	check("ack_wait", func(p string) { f.lasts(p, s.AckWait, MinAckWait, MaxAckWait) })
	check("retry.max_attempts", func(p string) { f.between(p, s.Retry.MaxAttempts, 0, MaxAttempts) })
	check("retry.min_backoff", func(p string) { f.lasts(p, s.Retry.MinBackoff, MinBackoff, MaxBackoff) })
	check("retry.max_backoff", func(p string) { f.lasts(p, s.Retry.MaxBackoff, MinBackoff, MaxBackoff) })
	check("on_exhausted", func(p string) { f.exhausted(p, s.OnExhausted) })
	check("breaker.failures", func(p string) { f.between(p, s.Breaker.Failures, 1, MaxFailures) })
	check("breaker.open_for", func(p string) { f.lasts(p, s.Breaker.OpenFor, MinOpenFor, MaxOpenFor) })
	check("expire_after", func(p string) {
		if s.ExpireAfter != 0 {
			f.lasts(p, s.ExpireAfter, MinExpireAfter, MaxExpireAfter)
		}
	})
	check("on_gap", func(p string) { f.OneOf(p, s.OnGap, wire.GapContinue, wire.GapPause) })
	check("labels", func(p string) { f.labelRules(p, s.Labels) })
	f.httpRules(check, s)
	f.pairs(s)
}

// checker returns what applies a rule to a field, unless its type is wrong. What
// is found from now on is no fault of types.
func (f *fields) checker() func(path string, rule func(path string)) {
	typed := f.Faults
	return func(path string, rule func(path string)) {
		if !typed.Has(path) {
			rule(path)
		}
	}
}

func (f *fields) selectorRules(check func(path string, rule func(path string)), s wire.Selector) {
	check("selector", func(p string) { f.someSelector(p, s) })
	check("selector.by_stream", func(p string) { f.each(p, s.ByStream, filterFault) })
	check("selector.by_event_type", func(p string) { f.each(p, s.ByEventType, typeFault) })
	check("selector.by_event_pattern", func(p string) { f.pattern(p, s.ByEventPattern, pattern.ParseEvent) })
	check("selector.by_event_payload", func(p string) { f.pattern(p, s.ByEventPayload, pattern.ParsePayload) })
}

func (f *fields) deliverRules(check func(path string, rule func(path string)), s *wire.Spec, ns wire.Namespace) {
	if s.Deliver.HTTP == nil {
		check("deliver.subject", func(p string) { f.deliverable(p, s.Deliver.Subject, ns) })
	}
	check("deliver.stream", func(p string) { f.target(p, s, ns) })
	check("deliver.ack", func(p string) { f.OneOf(p, s.Deliver.Ack, wire.AckAny, wire.AckExplicit) })
	check("deliver.mode", func(p string) { f.OneOf(p, s.Deliver.Mode, wire.ModeAck, wire.ModePublish) })
	check("deliver.rate", func(p string) { f.between(p, s.Deliver.Rate, 0, MaxRate) })
}

// pairs judges relations between fields, where each by itself is right.
func (f *fields) pairs(s *wire.Spec) {
	if s.PoolSize.Min > s.PoolSize.Max && !f.Has("pool_size") {
		f.Add("pool_size.max", "must not be less than min: %d < %d", s.PoolSize.Max, s.PoolSize.Min)
	}
	if s.Retry.MinBackoff > s.Retry.MaxBackoff && !f.Has("retry.min_backoff") && !f.Has("retry.max_backoff") {
		f.Add("retry.max_backoff", "must not be less than min_backoff: %s < %s", s.Retry.MaxBackoff, s.Retry.MinBackoff)
	}
}

func (f *fields) reason(path, reason string) {
	if reason != "" {
		f.Add(path, "%s", reason)
	}
}

func (f *fields) deliverable(path, subject string, ns wire.Namespace) {
	if reason := DeliveryFault(subject, ns); reason != "" {
		f.Refuse(wire.CodeBadDelivery, path, reason)
	}
}

func (f *fields) between(path string, v, lo, hi int) {
	if v < lo || v > hi {
		f.Add(path, "want %d to %d, got %d", lo, hi, v)
	}
}

func (f *fields) lasts(path string, d wire.Duration, lo, hi time.Duration) {
	if d.Std() < lo || d.Std() > hi {
		f.Add(path, "want %s to %s, got %s", lo, hi, d)
	}
}

func (f *fields) exhausted(path, v string) {
	if v == wire.ExhaustedParkKey {
		f.Add(path, "this version does not have park_key yet; want park or block")
		return
	}
	f.OneOf(path, v, wire.ExhaustedPark, wire.ExhaustedBlock)
}

func (f *fields) someSelector(path string, s wire.Selector) {
	if len(s.ByStream)+len(s.ByEventType)+len(s.ByEventPattern)+len(s.ByEventPayload) == 0 {
		f.Add(path, "want at least one of by_stream, by_event_type, by_event_pattern and by_event_payload")
	}
}

func (f *fields) each(path string, list []string, rule func(string) string) {
	if len(list) > MaxListed {
		f.Add(path, "%d entries: want at most %d", len(list), MaxListed)
		return
	}
	for i, v := range list {
		at := path
		if len(list) > 1 {
			at = strictjson.Index(path, i)
		}
		f.reason(at, rule(v))
	}
}

func typeFault(v string) string {
	switch {
	case v == "":
		return "must not be empty"
	case utf8.RuneCountInString(v) > MaxTypeLength:
		return longer(MaxTypeLength)
	}
	return ""
}

func (f *fields) pattern(path string, raw []byte, parse func([]byte) (*pattern.Pattern, error)) {
	if len(raw) == 0 {
		return
	}
	_, err := parse(raw)
	var all *pattern.Error
	switch {
	case err == nil:
	case errors.As(err, &all):
		for _, x := range all.Faults {
			f.Add(inside(path, x.Field), "%s", x.Reason)
		}
	default:
		f.Add(path, "%s", err)
	}
}

// inside appends a pattern's own path to that of the field it stands in.
func inside(path, field string) string {
	if field == "" || field[0] == '[' {
		return path + field
	}
	return path + "." + field
}

func (f *fields) start(path string, p wire.Position) {
	if p.Kind == wire.PositionSequence {
		f.sequence(path, p.Sequence)
	}
}

func (f *fields) order(path string, o wire.OrderBy) {
	switch o.Kind {
	case wire.OrderToken:
		f.between(strictjson.Join(path, "token"), o.Token, 1, MaxOrderToken)
	case wire.OrderHeader:
		f.reason(strictjson.Join(path, "header"), headerFault(o.Header))
	}
}

func headerFault(v string) string {
	switch {
	case v == "":
		return "must not be empty"
	case len(v) > MaxOrderHeader:
		return longer(MaxOrderHeader)
	case strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }):
		return "want a header name: printable ASCII without spaces and colons"
	}
	return ""
}

func (f *fields) labelRules(path string, labels map[string]string) {
	if len(labels) > MaxLabels {
		f.Add(path, "%d labels: want at most %d", len(labels), MaxLabels)
		return
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		at, v := strictjson.Join(path, k), labels[k]
		switch {
		case k == "" || utf8.RuneCountInString(k) > MaxLabelKey:
			f.Add(at, "want a name of 1 to %d characters", MaxLabelKey)
		case utf8.RuneCountInString(v) > MaxLabelValue:
			f.Add(at, "%s", longer(MaxLabelValue))
		case strings.ContainsFunc(k, unicode.IsControl) || strings.ContainsFunc(v, unicode.IsControl):
			f.Add(at, "must not hold control characters")
		}
	}
}
