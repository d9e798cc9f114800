package subscription

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/wire"
)

// ErrNoStore is in the error of what needs a store that does not exist.
var ErrNoStore = errors.New("no such store")

// StoreInfo is what matters of a store at one moment.
type StoreInfo struct {
	Created   time.Time // a store of the same name but another time is another store
	Retention jetstream.RetentionPolicy
	Subjects  []string // what it captures; none for a mirror or a store that only sources
	First     uint64   // sequence of the first event held; Last+1 where it is empty
	Last      uint64   // sequence of the last event ever stored
}

// Held returns how many sequences of [from, to) the store can still hold. Some
// of them may have been deleted one by one.
func (i StoreInfo) Held(from, to uint64) uint64 {
	from, to = max(from, i.First), min(to, i.Last+1)
	return max(from, to) - from
}

// streams is what is used of JetStream here.
type streams interface {
	Stream(ctx context.Context, name string) (jetstream.Stream, error)
	Conn() *nats.Conn
	Options() jetstream.JetStreamOptions
}

// Inspect looks at a store. The error is ErrNoStore where there is none.
func Inspect(ctx context.Context, js streams, store string) (StoreInfo, error) {
	s, err := js.Stream(ctx, store)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return StoreInfo{}, fmt.Errorf("store %q: %w", store, ErrNoStore)
	case err != nil:
		return StoreInfo{}, fmt.Errorf("inspect store %q: %w", store, err)
	}
	i := s.CachedInfo()
	info := StoreInfo{
		Created: i.Created.UTC(), Retention: i.Config.Retention, Subjects: i.Config.Subjects,
		First: i.State.FirstSeq, Last: i.State.LastSeq,
	}
	if i.State.Msgs == 0 {
		info.First = info.Last + 1
	}
	return info, nil
}

// ResolveStart returns the first sequence to read for a position in a store:
// "new" is the one after the last, "all" the first held, a sequence itself or
// the first held if that is later, a time that of the first event stored at or
// after it, the one after the last if there is none. A sequence beyond the
// last is kept: events from there on. The error is ErrNoStore where there is
// no such store.
func ResolveStart(ctx context.Context, js streams, store string, p wire.Position) (uint64, StoreInfo, error) {
	info, err := Inspect(ctx, js, store)
	if err != nil {
		return 0, StoreInfo{}, err
	}
	switch p.Kind {
	case wire.PositionAll:
		return info.First, info, nil
	case wire.PositionSequence:
		return max(p.Sequence, info.First), info, nil
	case wire.PositionTime:
		first, err := firstSince(ctx, js, store, info, p.Time)
		return first, info, err
	default:
		return info.Last + 1, info, nil
	}
}

// firstSince asks for the first event stored at or after t. The server finds
// it without a consumer; nats.go has no call for that request.
func firstSince(ctx context.Context, js streams, store string, info StoreInfo, t time.Time) (uint64, error) {
	msg, err := jsapi.GetMsg(ctx, js, store, map[string]any{"start_time": countable(t), "next_by_subj": ">", "no_hdr": true})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return info.Last + 1, nil
	case err != nil:
		return 0, fmt.Errorf("find the first event of store %q since %s: %w", store, t, err)
	}
	return msg.Sequence, nil
}

// countable moves a time that int64 nanoseconds since 1970 cannot express to
// the nearest that they can: the server counts in them, and would wrap around.
func countable(t time.Time) time.Time {
	lo, hi := time.Unix(0, 0), time.Unix(0, math.MaxInt64)
	switch {
	case t.Before(lo):
		return lo.UTC()
	case t.After(hi):
		return hi.UTC()
	}
	return t
}
