package registry

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// stores returns the stores, or the error that they are not there yet.
func (s *api) stores() (*stores, *wire.Error) {
	if st := s.opened.Load(); st != nil {
		return st, nil
	}
	return nil, wire.Errorf(wire.CodeUnavailable, "JetStream is away; nothing was done")
}

// failed turns the error of something that changed nothing into an answer.
func (s *api) failed(r *request, err error) *wire.Error {
	var (
		corrupt *subscription.CorruptError
		answer  *wire.Error
		full    *jsapi.FullError
	)
	switch {
	case errors.As(err, &answer):
		return answer
	case errors.Is(err, errAway) && late(err):
		return wire.Errorf(wire.CodeUnavailable, "JetStream did not answer in time; nothing was done")
	case errors.Is(err, errAway):
		return wire.Errorf(wire.CodeUnavailable, "JetStream is away; nothing was done")
	case errors.As(err, &full):
		return wire.Errorf(wire.CodeUnavailable, "%s; nothing was done", full.Plain())
	case errors.Is(err, subscription.ErrNotFound):
		return wire.Errorf(wire.CodeNoSubscription, "there is no subscription %q", r.name)
	case errors.Is(err, subscription.ErrNoStore):
		return wire.Errorf(wire.CodeNoStore, "%s", err)
	case errors.As(err, &corrupt):
		return unreadable(corrupt)
	case errors.Is(err, nats.ErrMaxPayload):
		return wire.Errorf(wire.CodeTooLarge, "the subscription is larger than NATS takes")
	}
	return s.internal("unexpected error", func(id string) {
		s.log.Error().Err(err).Str("id", id).Str("verb", r.verb).Str("name", r.name).Msg("request failed")
	})
}

// wrongField is the answer where one field is wrong.
func wrongField(field, reason string) *wire.Error {
	e := wire.Errorf(wire.CodeBadField, "the request has wrong fields: %s", field)
	e.Details = []wire.Fault{{Field: field, Reason: reason}}
	return e
}

// unknown is the answer where a write may have happened.
func unknown() *wire.Error {
	e := wire.Errorf(wire.CodeUnavailable, "JetStream did not confirm the write; it is not known whether it happened")
	e.Outcome = wire.OutcomeUnknown
	return e
}

// unreadable is the answer where the entry of the name cannot be worked with.
func unreadable(c *subscription.CorruptError) *wire.Error {
	var e *wire.Error
	if errors.Is(c.Err, subscription.ErrNewerSchema) {
		e = wire.Errorf(wire.CodeConflict, "what is stored under %q was written by a newer version of Sluice", c.Key)
	} else {
		e = wire.Errorf(wire.CodeConflict, "what is stored under %q cannot be read: unsubscribe it, or have it repaired, and subscribe again", c.Key)
	}
	e.Revision = c.Revision
	e.Details = []wire.Fault{{Reason: c.Err.Error()}}
	return e
}

// revisionConflict is the answer where the revision is not the one that was asked for;
// a current revision of 0 means that there is no such subscription.
func revisionConflict(name string, current uint64) *wire.Error {
	what := fmt.Sprintf("subscription %q is at revision %d", name, current)
	if current == 0 {
		what = fmt.Sprintf("subscription %q does not exist", name)
	}
	e := wire.Errorf(wire.CodeConflict, "%s", what)
	e.Revision = current
	return e
}

// contended is the answer where others' writes came first every time.
func contended(name string, current uint64) *wire.Error {
	e := wire.Errorf(wire.CodeConflict, "subscription %q is being changed by many at once; nothing was done", name)
	e.Revision = current
	return e
}

// advise tells of what was done. Where nothing was, only a request without a
// reply is told, since that is all it gets.
func (s *api) advise(r *request, changed bool, what, detail string, data map[string]any) {
	if !changed && !r.silent {
		return
	}
	data["changed"] = changed
	s.advisor.Advise(what, r.name, detail, data)
}

func facts(rec *wire.Record, rev uint64) map[string]any {
	return map[string]any{"uid": rec.UID, "generation": rec.Generation, "revision": rev}
}
