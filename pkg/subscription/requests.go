package subscription

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/wire"
)

// decode reads the body of a request, then applies the rules, and returns all faults
// together. An optional body may be empty.
func decode(body []byte, optional bool, into any, rules func(*fields)) *wire.Error {
	f := newFields()
	if bad := f.Request(body, optional, into); bad != nil {
		return bad
	}
	rules(f)
	return f.Refusal()
}

// DecodeSubscribe reads the body of a subscribe request for name and fills in
// the defaults. Its error names every fault: CodeBadJSON where the body is not
// JSON, CodeBadDelivery where only the delivery subject is wrong, else
// CodeBadField. Where fields are wrong the request has those that are right.
// The request holds no memory of body.
func DecodeSubscribe(body []byte, name string, ns wire.Namespace) (wire.SubscribeRequest, *wire.Error) {
	req := wire.SubscribeRequest{Spec: Default()}
	bad := decode(body, false, &req, func(f *fields) {
		for _, field := range []string{"store", "selector", "deliver"} { // the others have defaults
			if !f.Given(field) {
				f.Add(field, "is required")
			}
		}
		f.complete(&req.Spec)
		f.validate(name, &req.Spec, ns)
	})
	compactPatterns(&req.Selector)
	return req, bad
}

// compactPatterns drops insignificant white space, and with it the hold on
// the request's memory.
func compactPatterns(s *wire.Selector) {
	for _, raw := range []*json.RawMessage{&s.ByEventPattern, &s.ByEventPayload} {
		if len(*raw) == 0 {
			continue
		}
		var b bytes.Buffer
		if json.Compact(&b, *raw) == nil {
			*raw = b.Bytes()
		}
	}
}

// DecodeEmpty reads the body of a request that has no fields: nothing, or {}.
func DecodeEmpty(body []byte, name string) *wire.Error {
	return decode(body, true, &struct{}{}, func(f *fields) { f.Name("name", name) })
}

// DecodeUnsubscribe reads the optional body of unsubscribe.
func DecodeUnsubscribe(body []byte, name string) (req wire.UnsubscribeRequest, bad *wire.Error) {
	bad = decode(body, true, &req, func(f *fields) { f.Name("name", name) })
	return req, bad
}

// DecodeSeek reads the body of subscription.seek.
func DecodeSeek(body []byte, name string) (req wire.SeekRequest, bad *wire.Error) {
	bad = decode(body, false, &req, func(f *fields) {
		if !f.Given("to") {
			f.Add("to", "is required")
		}
		f.Name("name", name)
	})
	return req, bad
}

// Limits of a list.
const (
	DefaultListLimit = 256
	MaxListLimit     = 1000
)

// DecodeList reads the optional body of subscription.list and fills in the
// default limit.
func DecodeList(body []byte) (wire.ListRequest, *wire.Error) {
	req := wire.ListRequest{Limit: DefaultListLimit}
	bad := decode(body, true, &req, func(f *fields) {
		f.page(req.Offset, req.Limit)
		if req.State != "" && !f.Has("state") {
			f.OneOf("state", req.State, listedStates...)
		}
	})
	return req, bad
}

// page judges which page of a list is asked for.
func (f *fields) page(offset, limit int) {
	if offset < 0 && !f.Has("offset") {
		f.Add("offset", "want a whole number from 0, got %d", offset)
	}
	if !f.Has("limit") {
		f.between("limit", limit, 1, MaxListLimit)
	}
}

// listedStates are the words that filter a list by state.
var listedStates = []string{
	wire.StateUnclaimed, string(wire.PoolCatchingUp), string(wire.PoolLive), string(wire.PoolWaiting),
	string(wire.PoolBreakerOpen), string(wire.PoolBlocked), string(wire.PoolPaused),
	string(wire.PoolNotBegun), string(wire.PoolNoReader),
	string(wire.PoolStoreLost), string(wire.PoolReleased),
}

// DecodeExplain reads the body of subscription.explain. The data of an event
// in it is a part of body.
func DecodeExplain(body []byte, name string) (req wire.ExplainRequest, bad *wire.Error) {
	bad = decode(body, false, &req, func(f *fields) {
		f.Name("name", name)
		sequence := f.Given("sequence")
		switch {
		case sequence == f.Given("event"):
			f.Add("", "want exactly one of sequence and event")
		case sequence && req.Sequence == 0 && !f.Has("sequence"):
			f.Add("sequence", "want a whole number from 1, got 0")
		}
		if req.Event != nil {
			f.event("event", req.Event)
		}
	})
	return req, bad
}

// event judges an event that is made up.
func (f *fields) event(path string, e *wire.ExplainEvent) {
	switch at := strictjson.Join(path, "subject"); {
	case f.Has(at):
	case !f.Given(at):
		f.Add(at, "is required")
	default:
		f.reason(at, literalFault(e.Subject))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		f.reason(strictjson.Join(strictjson.Join(path, "headers"), name), headerFault(name))
	}
}

// literalFault says what is wrong with the subject of an event.
func literalFault(subject string) string {
	if reason := subjectFault(subject, MaxFilterLength); reason != "" {
		return reason
	}
	for token := range strings.SplitSeq(subject, ".") {
		if token == "*" || token == ">" {
			return "want a literal subject, without the wildcards * and >"
		}
	}
	return ""
}
